"""ComfyUI's graphs wherever its savers put them: core PNG and WebP, Save Image Extended, Save Image Plus, Civitai's jobs.

The API prompt is preferred; a file with only the workflow (an export or a screenshot) is read from the workflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.node_graph import NodeGraph
from indexd.image_metadata.comfyui_graph.trace import trace_metadata
from indexd.image_metadata.comfyui_graph.workflow import graph_from_workflow
from indexd.image_metadata.model import ImageMetadata, ResourceUse
from indexd.image_metadata.registry import MetadataTexts, register_reader

_PREFIXED = re.compile(r"(prompt|workflow)\s*:\s*(?=\{)", re.IGNORECASE)
_EXIF_TAGS = ("exif:Make", "exif:Model", "exif:ImageDescription", "exif:UserComment")
_BARE_PROMPT_KEYS = ("exif:UserComment", "jpeg:comment", "gif:comment", "png:parameters")
"""Where a prompt graph stands without anything that says so."""


@register_reader("comfyui", rank=70, fills_gaps=True)
def read_comfyui(texts: MetadataTexts) -> ImageMetadata | None:
    """The trace of the first prompt graph in the file that holds a sampler, else of the first workflow."""
    bare: str | None = None
    for source, value in _iter_json_values(texts, "prompt"):
        graph = NodeGraph.from_api_prompt(value)
        if graph is None:
            continue
        if (metadata := trace_metadata(graph, source)) is not None:
            return _with_civitai_request(metadata, value) if _is_civitai(value) else metadata
        bare = bare or source
    for source, value in _iter_json_values(texts, "workflow"):
        graph = graph_from_workflow(value)
        if graph is not None and (metadata := trace_metadata(graph, source)) is not None:
            return metadata
    return ImageMetadata(generator="comfyui", source=bare, is_ai="metadata") if bare else None


def _iter_json_values(texts: MetadataTexts, kind: str) -> Iterator[tuple[str, object]]:
    """Every (source, JSON value) of a kind ("prompt" or "workflow") that the file holds, parsed when it is asked for."""
    if (value := texts.parsed_json(f"png:{kind}")) is not None:
        yield f"png:{kind}", value
    for tag in _EXIF_TAGS:
        text = texts.get(tag)
        # Cameras use Make and Model too: only what begins with the word and a brace is ComfyUI's.
        match = _PREFIXED.match(text) if text else None
        if text and match and match[1].lower() == kind:
            yield tag, coerce.parse_json(text[match.end() :])
    if kind == "prompt":
        for tag in _BARE_PROMPT_KEYS:
            if isinstance(value := texts.parsed_json(tag), dict):
                yield tag, value


def _is_civitai(value: object) -> bool:
    return isinstance(value, dict) and "extraMetadata" in value


def _with_civitai_request(metadata: ImageMetadata, value: object) -> ImageMetadata:
    """Civitai's generator adds what was asked for as JSON in a text; it completes what the graph does not state."""
    asked = coerce.as_object(coerce.parse_json(str(coerce.as_object(value).get("extraMetadata", ""))))
    return replace(
        metadata,
        generator="civitai",
        prompt=metadata.prompt or coerce.clean_text(asked.get("prompt")),
        negative_prompt=metadata.negative_prompt or coerce.clean_text(asked.get("negativePrompt")),
        seed=metadata.seed or coerce.parse_seed(asked.get("seed")),
        steps=metadata.steps or coerce.parse_int(asked.get("steps")),
        cfg=metadata.cfg if metadata.cfg is not None else coerce.parse_float(asked.get("cfgScale")),
        sampler=metadata.sampler or coerce.nonempty_text(asked.get("sampler")),
        resources=(*metadata.resources, *_civitai_resources(asked)),
        extras=(*metadata.extras, *((key, coerce.display_text(asked[key])) for key in ("workflowId",) if key in asked)),
    )


def _civitai_resources(request: dict[str, Any]) -> Iterator[ResourceUse]:
    for item in coerce.as_objects(request.get("resources")):
        address = item.get("air") or item.get("modelVersionId")
        if isinstance(address, str | int) and not isinstance(address, bool):
            yield ResourceUse(str(address)[:300], weight=coerce.parse_float(item.get("strength")))
