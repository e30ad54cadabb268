"""Graphs in which no node is a sampler: partner (API) nodes, and settings that travel through one stream of data."""

from __future__ import annotations

from collections.abc import Iterable

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.checkpoint_loras import checkpoint_name, loras_on_node
from indexd.image_metadata.comfyui_graph.input_values import SEED_INPUTS, resolve_input
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, TraceBudget
from indexd.image_metadata.comfyui_graph.other_fields import find_embeddings
from indexd.image_metadata.comfyui_graph.sampler_order import OUTPUTS_MAX, output_nodes, stated_size
from indexd.image_metadata.comfyui_graph.text_inputs import TextResolver
from indexd.image_metadata.model import ImageMetadata, SamplerPass

_PROMPT_INPUTS = ("prompt", "prompt_text", "positive_prompt", "text_prompt", "text")
_NEGATIVE_INPUTS = ("negative_prompt", "negative", "negative_prompt_text")
_MODEL_INPUTS = ("model", "model_name", "model_version", "model_id", "engine")
_REQUEST_INPUTS = frozenset(
    (
        *SEED_INPUTS,
        *_NEGATIVE_INPUTS,
        *("aspect_ratio", "size", "resolution", "ratio", "size_preset", "quality", "n", "style", "style_preset"),
        *("num_images", "prompt_upsampling", "duration", "magic_prompt_option"),
    )
)


def trace_without_sampler(graph: NodeGraph, source: str) -> ImageMetadata | None:
    """The metadata of a graph without samplers; None where nothing in it generates an image."""
    outputs = output_nodes(graph)[:OUTPUTS_MAX]
    best = [node for rank, node in outputs if rank == outputs[0][0]]
    behind = [*best, *graph.iter_upstream([node.id for node in best])]
    request = next((node for node in behind if _is_request(node)), None)
    if request is not None:
        return _from_request(graph, request, source)
    everything = [*behind, *(node for _, node in outputs), *graph.iter_upstream([node.id for _, node in outputs])]
    settings = next((node for node in everything if _is_settings(node)), None)
    return None if settings is None else _from_stream(graph, settings, source)


def _is_request(node: GraphNode) -> bool:
    """A node that sends a prompt to a service: it has a prompt and what else such a request states."""
    if not any(name in node.inputs for name in _PROMPT_INPUTS) or node.kind_contains("encode", "save", "preview"):
        return False
    return bool(_REQUEST_INPUTS & node.inputs.keys()) and "clip" not in node.inputs


def _is_settings(node: GraphNode) -> bool:
    return "steps" in node.inputs and "cfg" in node.inputs and any(name in node.inputs for name in SEED_INPUTS)


def _from_request(graph: NodeGraph, node: GraphNode, source: str) -> ImageMetadata | None:
    texts = TextResolver(graph, TraceBudget())
    prompt = _first_text(texts, node, _PROMPT_INPUTS, "positive")
    if prompt is None:
        return None
    negative = _first_text(texts, node, _NEGATIVE_INPUTS, "negative")
    size = stated_size(graph, node)
    model = next(
        (name for key in _MODEL_INPUTS if (name := coerce.parse_model_name(resolve_input(graph, node, key)))), None
    )
    return ImageMetadata(
        generator="comfyui",
        source=source,
        is_ai="metadata",
        prompt=coerce.clean_text(prompt),
        negative_prompt=coerce.clean_text(negative),
        seed=_seed(graph, node),
        steps=coerce.parse_int(resolve_input(graph, node, "steps")),
        cfg=next(
            (
                value
                for key in ("cfg_scale", "cfg", "guidance_scale", "guidance")
                if (value := coerce.parse_float(resolve_input(graph, node, key))) is not None
            ),
            None,
        ),
        model_name=model,
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        extras=(("node", node.kind),),
    )


def _from_stream(graph: NodeGraph, settings: GraphNode, source: str) -> ImageMetadata:
    """Searge's nodes add their settings to one stream, which a single node then turns into an image."""
    nodes = [settings, *graph.iter_upstream([settings.id])]
    # The stream may leave a node that adds to it before the settings were added.
    nodes += [node for node in graph.nodes.values() if any(graph.iter_pipe_links(node)) and node not in nodes]
    texts = TextResolver(graph, TraceBudget())
    prompt = next((text for node in nodes if (text := _first_text(texts, node, ("main_prompt",), "positive"))), None)
    negative = next(
        (text for node in nodes if (text := _first_text(texts, node, ("negative_main_prompt",), "negative"))), None
    )
    model = next((name for node in nodes if (name := checkpoint_name(graph, node)) is not None), None)
    size = stated_size(graph, settings)
    preset = coerce.parse_size(settings.inputs.get("image_size_preset"))
    size = preset or size
    one_pass = SamplerPass(
        _seed(graph, settings),
        coerce.parse_int(resolve_input(graph, settings, "steps")),
        coerce.parse_float(resolve_input(graph, settings, "cfg")),
        coerce.nonempty_text(resolve_input(graph, settings, "sampler_name")),
        coerce.nonempty_text(resolve_input(graph, settings, "scheduler")),
        None,
        model,
    )
    return ImageMetadata(
        generator="comfyui",
        source=source,
        is_ai="metadata",
        prompt=coerce.clean_text(prompt),
        negative_prompt=coerce.clean_text(negative),
        seed=one_pass.seed,
        steps=one_pass.steps,
        cfg=one_pass.cfg,
        sampler=one_pass.sampler,
        schedule=one_pass.schedule,
        model_name=model,
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=tuple({use.name: use for node in nodes for use in loras_on_node(graph, node)}.values()),
        passes=(one_pass,),
        embeddings=find_embeddings(prompt, negative),
    )


def _first_text(texts: TextResolver, node: GraphNode, names: Iterable[str], role: str) -> str | None:
    return next((text for name in names if (text := texts.text_of_input(node, name, role)) is not None), None)


def _seed(graph: NodeGraph, node: GraphNode) -> str | None:
    return next((seed for name in SEED_INPUTS if (seed := coerce.parse_seed(resolve_input(graph, node, name)))), None)
