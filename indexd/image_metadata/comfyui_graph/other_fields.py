"""Other fields of a graph: embeddings, resources of model sites, detailers and upscalers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.input_values import find_setting, resolve_input
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink
from indexd.image_metadata.model import DetailerUse, EmbeddingUse, ResourceUse, SamplerPass

RESOURCES_MAX = 100

_EMBEDDING = re.compile(r"\bembedding:([^\s,:()\[\]{}<>|]{1,200})")
_DETECTOR_INPUTS = ("bbox_detector", "bbox_detector_opt", "segm_detector_opt", "segs", "detector")


def find_embeddings(*texts: str | None) -> tuple[EmbeddingUse, ...]:
    """The textual inversions that prompts name as ComfyUI does: `embedding:name`, with or without its file's ending."""
    named = (match[1] for text in texts if text for match in _EMBEDDING.finditer(text[: coerce.TEXT_MAX]))
    found = dict.fromkeys(name for one in named if (name := coerce.parse_model_name(one.rstrip("."))))
    return tuple(EmbeddingUse(name) for name in found)


def find_refiner(passes: Sequence[SamplerPass]) -> str | None:
    """The model that takes over from the first one within the same steps (SDXL's refiner)."""
    for one in passes[1:]:
        if one.start_step and one.model != passes[0].model:
            return one.model
    return None


def find_detailers(graph: NodeGraph, passes: Sequence[GraphNode]) -> Iterator[DetailerUse]:
    """The nodes that detect regions of the image and render them again (FaceDetailer, DetailerForEach)."""
    for node in passes:
        if not node.kind_contains("detailer"):
            continue
        links = (graph.link_at(node, name) for name in _DETECTOR_INPUTS)
        model = next((name for link in links if link and (name := _model_name_upstream(graph, link))), None)
        yield DetailerUse(
            model,
            coerce.nonempty_text(node.inputs.get("wildcard")),
            None,
            coerce.parse_float(resolve_input(graph, node, "denoise")),
        )


def find_upscaling(graph: NodeGraph, passes: Sequence[GraphNode]) -> dict[str, Any]:
    """The fields of ImageMetadata about upscaling: between two passes ("hires"), or of the finished image."""
    found: dict[str, Any] = {}
    before = {node.id for node in graph.iter_upstream([passes[-1].id])} if len(passes) > 1 else set()
    for node in graph.nodes.values():
        model = (
            _model_name_upstream(graph, link) if (link := graph.link_at(node, "upscale_model")) is not None else None
        )
        # Latents and pixels without a model are enlarged by a method.
        method = (
            coerce.nonempty_text(node.inputs.get("upscale_method"))
            if node.kind_contains("latentupscale", "imagescale")
            else None
        )
        if node.id in before and (model or method):
            found.setdefault("hires_upscaler", model or method)
            found.setdefault("hires_scale", coerce.parse_float(resolve_input(graph, node, "scale_by")))
        elif model is not None:
            found.setdefault("upscaler", model)
    if found.get("hires_upscaler") is not None:
        found["hires_steps"] = coerce.parse_int(find_setting(graph, passes[-1], "steps"))
        found["hires_denoise"] = coerce.parse_float(find_setting(graph, passes[-1], "denoise"))
    return found


def find_resources(graph: NodeGraph) -> Iterator[ResourceUse]:
    """What the graph loads by its address on a site of models (`urn:air:sdxl:checkpoint:civitai:101055@128078`)."""
    seen: set[str] = set()
    for node in graph.nodes.values():
        for value in node.inputs.values():
            if (
                isinstance(value, str)
                and value.startswith("urn:air:")
                and value not in seen
                and len(seen) < RESOURCES_MAX
            ):
                seen.add(value)
                parts = value.split(":")
                yield ResourceUse(value[:300], parts[3] if len(parts) > 3 else None)


def _model_name_upstream(graph: NodeGraph, link: NodeLink) -> str | None:
    for node in (graph.nodes[link.source], *graph.iter_upstream([link.source])):
        if (name := coerce.parse_model_name(node.inputs.get("model_name"))) is not None:
            return name
    return None
