"""Which samplers made the saved image, first pass first."""

from __future__ import annotations

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.input_values import (
    SEED_INPUTS,
    SIDE_MIN_PX,
    find_size_text,
    preset_size,
    resolve_input,
)
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph

PASSES_MAX = 20
OUTPUTS_MAX = 50

NON_LATENT_INPUTS = frozenset(
    [
        "model",
        "clip",
        "vae",
        "positive",
        "negative",
        "conditioning",
        "guider",
        "noise",
        "sigmas",
        "sampler",
        "control_net",
        "upscale_model",
        "basic_pipe",
        "mask",
        "positive_cond",
        "negative_cond",
        "cond",
        "refiner_model",
        "refiner_positive",
        "refiner_negative",
        "clip_vision",
        "clip_vision_output",
    ]
)
"""Inputs that bring no pixels: a sampler behind them made a control image, a depth map or a reference, not this image."""

_IMAGE_INPUTS = NON_LATENT_INPUTS | frozenset(
    [
        "image",
        "images",
        "pixels",
        "depth",
        "hint_image",
        "control_image",
        "reference_image",
        "reference_latent",
        "init_image",
    ]
) - {"positive", "negative", "conditioning", "cond"}
_CONDITIONING_INPUTS = ("positive", "negative", "conditioning", "guider")
_MODEL_INPUTS = ("model", "guider")
_OUTPUT_KINDS = ("save", "preview", "output", "combine", "websocket", "export")
_SIZE_TEXT_INPUTS = ("dimensions", "resolution", "size", "image_size", "image_size_preset", "empty_latent_aspect")


def ordered_passes(graph: NodeGraph, image_size: tuple[int, int] | None) -> list[GraphNode]:
    """The samplers behind the saved image, first pass first. `image_size` is that of the file, in pixels."""
    samplers = {node.id: node for node in graph.nodes.values() if _is_sampler(graph, node)}
    reached = _reachable_samplers(graph, samplers, image_size) or list(samplers.values())
    # Further from the output is earlier; a pass whose latent comes from another sampler is never the first.
    before = {node.id: _samplers_before(graph, node, samplers) for node in reached[:PASSES_MAX]}
    ordered = sorted(
        enumerate(reached[:PASSES_MAX]),
        key=lambda item: (len(before[item[1].id]), not _starts_from_empty_latent(graph, item[1]), -item[0]),
    )
    return [node for _, node in ordered]


def output_nodes(graph: NodeGraph) -> list[tuple[int, GraphNode]]:
    """The nodes that feed no other node, with their rank: 0 saves a file, 1 shows one, 2 is anything else."""
    taken = {link.source for node in graph.nodes.values() for _, link in graph.iter_links(node)}
    ends = [node for node in graph.nodes.values() if node.id not in taken and any(True for _ in graph.iter_links(node))]
    ranked = [
        (0 if node.kind_contains("save") else 1 if node.kind_contains(*_OUTPUT_KINDS) else 2, node) for node in ends
    ]
    return sorted(ranked, key=lambda item: item[0])


def stated_size(graph: NodeGraph, node: GraphNode) -> tuple[int, int] | None:
    """Width and height in pixels that a node states; None where it states none, or numbers too small for sides."""
    if (preset := preset_size(node)) is not None:
        return preset
    for prefix in ("", "empty_latent_", "image_"):
        width, height = (
            coerce.parse_int(resolve_input(graph, node, f"{prefix}{side}")) for side in ("width", "height")
        )
        if width and height and min(width, height) >= SIDE_MIN_PX:
            return width, height
    return find_size_text(node.inputs.get(name) for name in _SIZE_TEXT_INPUTS)


def _is_sampler(graph: NodeGraph, node: GraphNode) -> bool:
    """A node that is driven by a model (or a guider, or a pipe) and has steps or sigmas: KSampler and its relatives."""
    inputs = node.inputs
    has_steps = "steps" in inputs or "sigmas" in inputs or "sampler_name" in inputs or node.kind_contains("ksampler")
    if not has_steps or node.kind_contains("scheduler", "presampling", "selector", "sigmas"):
        return False
    starts = any(name in inputs for name in (*SEED_INPUTS, "noise")) or node.kind_contains("ksampler")
    if any(graph.link_at(node, name) is not None for name in _MODEL_INPUTS):
        return starts
    return starts and node.kind_contains("sampl", "detail", "upscale") and any(graph.iter_pipe_links(node))


def _reachable_samplers(
    graph: NodeGraph, samplers: dict[str, GraphNode], image_size: tuple[int, int] | None
) -> list[GraphNode]:
    """The samplers behind one output, nearest to it first.

    Saved images go before previews, then the output that states the size of the file, then the longest way. A graph
    that saves each of its passes is embedded in every one of the files.
    """
    best: list[GraphNode] = []
    best_rank: tuple[int, bool, int] | None = None
    for rank, output in output_nodes(graph)[:OUTPUTS_MAX]:
        if best_rank is not None and rank > best_rank[0]:
            break
        behind = [output, *graph.iter_upstream([output.id], skip_inputs=NON_LATENT_INPUTS)]
        found = _samplers_among(graph, behind, samplers)
        if not found:
            found = [node for node in graph.iter_upstream([output.id]) if node.id in samplers]
        if not found:
            continue
        size = next((size for node in behind if (size := stated_size(graph, node)) is not None), None)
        fits = image_size is not None and size == image_size
        if best_rank is None or (fits, len(found)) > best_rank[1:]:
            best, best_rank = found, (rank, fits, len(found))
    return best


def _samplers_before(graph: NodeGraph, node: GraphNode, samplers: dict[str, GraphNode]) -> set[str]:
    behind = [node, *graph.iter_upstream([node.id], skip_inputs=NON_LATENT_INPUTS)]
    return {found.id for found in _samplers_among(graph, behind, samplers)} - {node.id}


def _samplers_among(graph: NodeGraph, nodes: list[GraphNode], samplers: dict[str, GraphNode]) -> list[GraphNode]:
    """The samplers among these nodes, and those whose latent one of them takes as conditioning (Stable Cascade)."""
    found = {node.id: node for node in nodes if node.id in samplers}
    for sampler in list(found.values()):
        links = (graph.link_at(sampler, name) for name in _CONDITIONING_INPUTS)
        starts = [link.source for link in links if link is not None]
        for node in graph.iter_upstream(starts, skip_inputs=_IMAGE_INPUTS):
            if node.id in samplers:
                found.setdefault(node.id, node)
    return list(found.values())


def _starts_from_empty_latent(graph: NodeGraph, node: GraphNode) -> bool:
    return any(found.kind_contains("empty") for found in graph.iter_upstream([node.id], skip_inputs=NON_LATENT_INPUTS))
