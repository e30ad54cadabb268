"""ComfyUI's graphs wherever its savers put them: core PNG and WebP, Save Image Extended, Save Image Plus, Civitai's jobs.

The API prompt is preferred; a file with only the workflow (an export or a screenshot) is read from the workflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from indexd.images.facts import Metadata, ResourceUse
from indexd.images.metadata import values
from indexd.images.metadata.graph.nodes import Graph
from indexd.images.metadata.graph.trace import traced
from indexd.images.metadata.graph.workflow import graph_of_workflow
from indexd.images.metadata.registry import Texts, reads

_PREFIXED = re.compile(r"(prompt|workflow)\s*:\s*(?=\{)", re.IGNORECASE)
_EXIF_TAGS = ("exif:Make", "exif:Model", "exif:ImageDescription", "exif:UserComment")
_WHOLE = ("exif:UserComment", "jpeg:comment", "gif:comment", "png:parameters")
"""Where a prompt graph stands without anything that says so."""


@reads("comfyui", rank=70, fills=True)
def read(texts: Texts) -> Metadata | None:
    """The trace of the first prompt graph in the file that holds a sampler, else of the first workflow."""
    bare: str | None = None
    for source, value in _objects(texts, "prompt"):
        graph = Graph.of_api(value)
        if graph is None:
            continue
        if (metadata := traced(graph, source)) is not None:
            return _of_civitai(metadata, value) if _is_civitai(value) else metadata
        bare = bare or source
    for source, value in _objects(texts, "workflow"):
        graph = graph_of_workflow(value)
        if graph is not None and (metadata := traced(graph, source)) is not None:
            return metadata
    return Metadata(generator="comfyui", source=bare, is_ai="metadata") if bare else None


def _objects(texts: Texts, kind: str) -> Iterator[tuple[str, object]]:
    """Every (source, JSON value) of a kind ("prompt" or "workflow") that the file holds, parsed when it is asked for."""
    if (value := texts.parsed(f"png:{kind}")) is not None:
        yield f"png:{kind}", value
    for tag in _EXIF_TAGS:
        text = texts.get(tag)
        # Cameras use Make and Model too: only what begins with the word and a brace is ComfyUI's.
        match = _PREFIXED.match(text) if text else None
        if text and match and match[1].lower() == kind:
            yield tag, values.json_of(text[match.end() :])
    if kind == "prompt":
        for tag in _WHOLE:
            if isinstance(value := texts.parsed(tag), dict):
                yield tag, value


def _is_civitai(value: object) -> bool:
    return isinstance(value, dict) and "extraMetadata" in value


def _of_civitai(metadata: Metadata, value: object) -> Metadata:
    """Civitai's generator adds what was asked for as JSON in a text; it completes what the graph does not state."""
    asked = values.record(values.json_of(str(values.record(value).get("extraMetadata", ""))))
    return replace(
        metadata,
        generator="civitai",
        prompt=metadata.prompt or values.text(asked.get("prompt")),
        negative_prompt=metadata.negative_prompt or values.text(asked.get("negativePrompt")),
        seed=metadata.seed or values.seed(asked.get("seed")),
        steps=metadata.steps or values.whole(asked.get("steps")),
        cfg=metadata.cfg if metadata.cfg is not None else values.number(asked.get("cfgScale")),
        sampler=metadata.sampler or values.stated(asked.get("sampler")),
        resources=(*metadata.resources, *_resources(asked)),
        extras=(*metadata.extras, *((key, values.extra(asked[key])) for key in ("workflowId",) if key in asked)),
    )


def _resources(asked: dict[str, Any]) -> Iterator[ResourceUse]:
    for item in values.records(asked.get("resources")):
        address = item.get("air") or item.get("modelVersionId")
        if isinstance(address, str | int) and not isinstance(address, bool):
            yield ResourceUse(str(address)[:300], weight=values.number(item.get("strength")))
