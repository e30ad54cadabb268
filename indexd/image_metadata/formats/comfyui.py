"""ComfyUI's graphs wherever its savers put them: core PNG and WebP, Save Image Extended, Save Image Plus, Civitai's jobs.

The API prompt is preferred; a file with only the workflow (an export or a screenshot) is read from the workflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.node_graph import NodeGraph, NodeShape
from indexd.image_metadata.comfyui_graph.trace import trace_metadata
from indexd.image_metadata.comfyui_graph.workflow import graph_from_workflow, shapes_from_workflow
from indexd.image_metadata.model import ImageMetadata, ResourceUse
from indexd.image_metadata.registry import MetadataTexts, register_reader
from indexd.image_metadata.xmp import find_xmp_property

_PREFIXED = re.compile(r"(prompt|workflow)\s*:\s*(?=\{)", re.IGNORECASE)
_BARE_PROMPT_KEYS = ("exif:UserComment", "jpeg:comment", "gif:comment", "png:parameters")
"""Where a prompt graph stands without anything that names it."""


@register_reader("comfyui", rank=70, fills_gaps=True)
def read_comfyui(texts: MetadataTexts) -> ImageMetadata | None:
    """The trace of the first prompt graph in the file that generates something, else of the first workflow."""
    bare: str | None = None
    for source, value in _iter_json_values(texts, "prompt"):
        graph = NodeGraph.from_api_prompt(value, lambda: _workflow_shapes(texts))
        if graph is None:
            continue
        metadata = trace_metadata(graph, source, texts.image_size)
        if _is_civitai(value):
            return _with_civitai_request(
                metadata or ImageMetadata(generator="comfyui", source=source, is_ai="metadata"), value
            )
        if metadata is not None:
            return metadata
        bare = bare or source
    for source, value in _iter_json_values(texts, "workflow"):
        graph = graph_from_workflow(value)
        if graph is not None and (metadata := trace_metadata(graph, source, texts.image_size)) is not None:
            return metadata
    return ImageMetadata(generator="comfyui", source=bare, is_ai="metadata") if bare else None


def _workflow_shapes(texts: MetadataTexts) -> Mapping[str, NodeShape]:
    """What the first workflow in the file declares of the nodes of the prompt graph."""
    return next((shapes_from_workflow(value) for _, value in _iter_json_values(texts, "workflow")), {})


def _iter_json_values(texts: MetadataTexts, kind: str) -> Iterator[tuple[str, object]]:
    """Every (source, JSON value) of a kind ("prompt" or "workflow") that the file holds, parsed on demand."""
    if (value := texts.parsed_json(f"png:{kind}")) is not None:
        yield f"png:{kind}", value
    for key in texts.keys:
        # Cameras use Make and Model too: only what begins with the word and a brace is ComfyUI's.
        text = texts.get(key) if key.startswith("exif:") else None
        match = _PREFIXED.match(text) if text else None
        if text and match and match[1].lower() == kind:
            yield key, texts.parse(text[match.end() :])
    for name in (kind, kind.capitalize()):
        if (packet := texts.get("xmp")) and (stated := find_xmp_property(packet, name, prefixes=("comfy", "xmp"))):
            yield "xmp", texts.parse(stated)
    if kind == "prompt":
        for key in _BARE_PROMPT_KEYS:
            if isinstance(value := texts.parsed_json(key), dict):
                yield key, value


def _is_civitai(value: object) -> bool:
    return isinstance(value, dict) and "extraMetadata" in value


def _with_civitai_request(metadata: ImageMetadata, value: object) -> ImageMetadata:
    """Add what Civitai's generator was asked for; it stands as JSON in a text beside the graph."""
    request = coerce.as_object(coerce.parse_json(str(coerce.as_object(value).get("extraMetadata", ""))))
    resources = coerce.as_objects(request.get("resources"))
    size = coerce.parse_int(request.get("width")), coerce.parse_int(request.get("height"))
    return replace(
        metadata,
        generator="civitai",
        prompt=metadata.prompt or coerce.clean_text(request.get("prompt")),
        negative_prompt=metadata.negative_prompt or coerce.clean_text(request.get("negativePrompt")),
        seed=metadata.seed or coerce.parse_seed(request.get("seed")),
        steps=metadata.steps or coerce.parse_int(request.get("steps")),
        cfg=metadata.cfg if metadata.cfg is not None else coerce.parse_float(request.get("cfgScale")),
        sampler=metadata.sampler or coerce.nonempty_text(request.get("sampler")),
        clip_skip=metadata.clip_skip or coerce.parse_int(request.get("clipSkip")) or None,
        denoise=metadata.denoise if metadata.denoise is not None else coerce.parse_float(request.get("denoise")),
        model_name=metadata.model_name
        or next(
            (
                coerce.nonempty_text(item.get("modelName") or item.get("name"))
                for item in resources
                if str(item.get("type", "")).lower() in ("checkpoint", "model")
            ),
            None,
        ),
        gen_width=metadata.gen_width or (size[0] if all(size) else None),
        gen_height=metadata.gen_height or (size[1] if all(size) else None),
        resources=(*metadata.resources, *_civitai_resources(request)),
        extras=(
            *metadata.extras,
            *((key, coerce.display_text(request[key])) for key in ("workflowId",) if key in request),
        ),
    )


def _civitai_resources(request: dict[str, Any]) -> Iterator[ResourceUse]:
    for item in coerce.as_objects(request.get("resources")):
        address = item.get("air") or item.get("modelVersionId")
        if isinstance(address, str | int) and not isinstance(address, bool):
            yield ResourceUse(str(address)[:300], weight=coerce.parse_float(item.get("strength")))
