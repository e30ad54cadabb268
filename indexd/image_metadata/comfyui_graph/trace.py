"""The trace of one graph: which samplers made the picture, in which order, from which texts and models.

It starts at the node that saved the picture and walks back. The primary pass is the first one on that way: the sampler
whose latent comes from no other sampler (an empty latent, or an encoded picture).
"""

from __future__ import annotations

import re

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.checkpoint_loras import find_checkpoint_and_loras
from indexd.image_metadata.comfyui_graph.conditioning_trace import ConditioningTracer, select_main_text
from indexd.image_metadata.comfyui_graph.input_values import find_setting, resolve_input, settings_nodes
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink, TraceBudget
from indexd.image_metadata.comfyui_graph.other_fields import (
    find_detailers,
    find_embeddings,
    find_refiner,
    find_resources,
    find_upscaling,
)
from indexd.image_metadata.model import ImageMetadata, SamplerPass

PASSES_MAX = 20
OUTPUTS_MAX = 50

_SEED_INPUTS = ("seed", "noise_seed", "seed_value", "seed_num")
_MODEL_INPUTS = ("model", "guider", "basic_pipe", "pipe", "detailer_pipe", "base_ctx", "context", "sdxl_tuple")
_NON_LATENT_INPUTS = frozenset(
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
    ]
)
_OUTPUT_KINDS = ("save", "preview", "output", "combine", "websocket", "export")
_NAMED_SCHEDULES = {
    "karrasscheduler": "karras",
    "exponentialscheduler": "exponential",
    "polyexponentialscheduler": "polyexponential",
    "vpscheduler": "vp",
    "betasamplingscheduler": "beta",
    "laplacescheduler": "laplace",
    "alignyourstepsscheduler": "align_your_steps",
    "gitsscheduler": "gits",
}


def trace_metadata(graph: NodeGraph, source: str) -> ImageMetadata | None:
    """The metadata that a graph states; None where no sampler is in it."""
    passes = _ordered_passes(graph)
    if not passes:
        return None
    primary = passes[0]
    conditionings = ConditioningTracer(graph, TraceBudget())
    prompt, others = select_main_text(
        conditionings.trace_passages(_conditioning_link(graph, primary, "positive"), "positive")
    )
    controls = tuple(conditionings.controls)
    negative_link = _conditioning_link(graph, primary, "negative")
    negatives = conditionings.trace_passages(negative_link, "negative")
    negative = select_main_text(negatives)[0] if negative_link is not None else ""
    if prompt is None and negative_link is None:
        negative = None
    model, loras = find_checkpoint_and_loras(graph, primary)
    size = _latent_size(graph, primary)
    described = tuple(_describe_pass(graph, node) for node in passes[:PASSES_MAX])
    first = described[0]
    return ImageMetadata(
        generator="comfyui",
        source=source,
        is_ai="metadata",
        prompt=coerce.clean_text(prompt),
        negative_prompt=coerce.clean_text(negative),
        seed=first.seed,
        steps=first.steps,
        cfg=first.cfg,
        sampler=first.sampler,
        schedule=first.schedule,
        denoise=first.denoise,
        clip_skip=_clip_skip(graph, primary),
        model_name=model,
        vae=_vae(graph),
        guidance=conditionings.guidance,
        refiner=find_refiner(described),
        **find_upscaling(graph, passes),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=loras,
        controls=controls,
        passes=described,
        embeddings=find_embeddings(prompt, *others, *(passage.text for passage in negatives)),
        detailers=tuple(find_detailers(graph, passes)),
        resources=tuple(find_resources(graph)),
        extras=(
            *(("other prompt", coerce.display_text(text)) for text in others),
            *(("source image", coerce.display_text(name)) for name in _source_images(graph, primary)),
        ),
    )


def _is_sampler(graph: NodeGraph, node: GraphNode) -> bool:
    """A node that is driven by a model (or a guider, or a pipe) and has steps or sigmas: KSampler and all its kin."""
    inputs = node.inputs
    has_steps = "steps" in inputs or "sigmas" in inputs or "sampler_name" in inputs or node.kind_contains("ksampler")
    if not has_steps or node.kind_contains("scheduler", "presampling", "selector", "sigmas"):
        return False
    starts = any(name in inputs for name in (*_SEED_INPUTS, "noise")) or node.kind_contains("ksampler")
    return starts and any(graph.link_at(node, name) is not None for name in _MODEL_INPUTS)


def _ordered_passes(graph: NodeGraph) -> list[GraphNode]:
    """The samplers behind the saved picture, first pass first."""
    samplers = {node.id: node for node in graph.nodes.values() if _is_sampler(graph, node)}
    reached = _reachable_samplers(graph, samplers) or list(samplers.values())
    # Further from the output is earlier; a pass whose latent comes from another sampler is never the first.
    before = {node.id: _samplers_before(graph, node, samplers) for node in reached[:PASSES_MAX]}
    ordered = sorted(
        enumerate(reached[:PASSES_MAX]),
        key=lambda item: (len(before[item[1].id]), not _starts_from_empty_latent(graph, item[1]), -item[0]),
    )
    return [node for _, node in ordered]


def _reachable_samplers(graph: NodeGraph, samplers: dict[str, GraphNode]) -> list[GraphNode]:
    """The samplers behind the output with the longest way, nearest to it first; saved pictures before previews.

    A graph that saves each of its passes is embedded in every one of the files, and nothing tells them apart.
    """
    best: list[GraphNode] = []
    best_rank = 0
    for rank, output in _output_nodes(graph)[:OUTPUTS_MAX]:
        if best and rank > best_rank:
            break
        found = [node for node in (output, *graph.iter_upstream([output.id])) if node.id in samplers]
        if len(found) > len(best):
            best, best_rank = found, rank
    return best


def _output_nodes(graph: NodeGraph) -> list[tuple[int, GraphNode]]:
    """The nodes that nobody takes anything from with their rank: 0 saves a file, 1 shows one, 2 anything else."""
    taken = {link.source for node in graph.nodes.values() for _, link in graph.iter_links(node)}
    ends = [node for node in graph.nodes.values() if node.id not in taken and any(True for _ in graph.iter_links(node))]
    ranked = [
        (0 if node.kind_contains("save") else 1 if node.kind_contains(*_OUTPUT_KINDS) else 2, node) for node in ends
    ]
    return sorted(ranked, key=lambda item: item[0])


def _samplers_before(graph: NodeGraph, node: GraphNode, samplers: dict[str, GraphNode]) -> set[str]:
    return {
        found.id for found in graph.iter_upstream([node.id], skip_inputs=_NON_LATENT_INPUTS) if found.id in samplers
    } - {node.id}


def _starts_from_empty_latent(graph: NodeGraph, node: GraphNode) -> bool:
    return any(found.kind_contains("empty") for found in graph.iter_upstream([node.id], skip_inputs=_NON_LATENT_INPUTS))


def _describe_pass(graph: NodeGraph, node: GraphNode) -> SamplerPass:
    return SamplerPass(
        _seed(graph, node),
        coerce.parse_int(find_setting(graph, node, "steps")),
        coerce.parse_float(find_setting(graph, node, "cfg", "cfg_scale", "cfg_conds")),
        _sampler_name(graph, node),
        _schedule(graph, node),
        coerce.parse_float(find_setting(graph, node, "denoise")),
        find_checkpoint_and_loras(graph, node)[0],
        coerce.parse_int(resolve_input(graph, node, "start_at_step")),
        coerce.parse_int(resolve_input(graph, node, "end_at_step")),
    )


def _seed(graph: NodeGraph, node: GraphNode) -> str | None:
    return coerce.parse_seed(find_setting(graph, node, *_SEED_INPUTS))


def _sampler_name(graph: NodeGraph, node: GraphNode) -> str | None:
    stated = coerce.nonempty_text(find_setting(graph, node, "sampler_name"))
    if stated is not None:
        return stated
    word = coerce.nonempty_text(resolve_input(graph, node, "sampler"))
    if word is not None:
        return word
    link = graph.link_at(node, "sampler")
    if link is None:
        return None
    # SamplerEulerAncestral, SamplerDPMPP_2M_SDE: one node class for each sampler.
    name = graph.nodes[link.source].kind.removeprefix("Sampler")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() or None


def _schedule(graph: NodeGraph, node: GraphNode) -> str | None:
    stated = coerce.nonempty_text(find_setting(graph, node, "scheduler", "scheduler_name"))
    link = graph.link_at(node, "sigmas")
    if stated is not None or link is None:
        return stated
    behind = (graph.nodes[link.source], *graph.iter_upstream([link.source], skip_inputs=frozenset(("model",))))
    return next((_NAMED_SCHEDULES[found.kind_lower] for found in behind if found.kind_lower in _NAMED_SCHEDULES), None)


def _conditioning_link(graph: NodeGraph, sampler: GraphNode, side: str) -> NodeLink | None:
    """The link that brings a sampler its positive or negative conditioning, on itself, its guider or its pipe."""
    names = ("positive", "conditioning", "cond1", "text_embeds") if side == "positive" else ("negative", "text_embeds")
    for node in (sampler, *settings_nodes(graph, sampler)):
        for name in names:
            if (link := graph.link_at(node, name)) is not None:
                return link
            # "Efficient" loaders hold the text itself where others have a link.
            if isinstance(node.inputs.get(name), str) and node is not sampler:
                return NodeLink(node.id, 0 if side == "positive" else 1)
    return None


def _latent_size(graph: NodeGraph, sampler: GraphNode) -> tuple[int, int] | None:
    """Width and height in pixels of the latent that the first pass began with."""
    # A pipe brings the size along with everything else.
    for node in (*graph.iter_upstream([sampler.id], skip_inputs=_NON_LATENT_INPUTS), *settings_nodes(graph, sampler)):
        for prefix in ("", "empty_latent_"):
            width, height = (
                coerce.parse_int(resolve_input(graph, node, f"{prefix}{name}")) for name in ("width", "height")
            )
            if width and height:
                return width, height
        for name in ("dimensions", "resolution", "size"):
            if (found := coerce.parse_size(node.inputs.get(name))) is not None:
                return found
    return None


def _source_images(graph: NodeGraph, sampler: GraphNode) -> list[str]:
    """The names of the pictures that the first pass began with (img2img)."""
    behind = graph.iter_upstream([sampler.id], skip_inputs=_NON_LATENT_INPUTS)
    names = (coerce.nonempty_text(node.inputs.get("image")) for node in behind if node.kind_contains("loadimage"))
    return [name for name in names if name is not None]


def _clip_skip(graph: NodeGraph, sampler: GraphNode) -> int | None:
    for node in graph.iter_upstream([sampler.id]):
        last = coerce.parse_int(node.inputs.get("stop_at_clip_layer"))
        if last is not None:
            return -last
    return None


def _vae(graph: NodeGraph) -> str | None:
    return next(
        (name for node in graph.nodes.values() if (name := coerce.parse_model_name(node.inputs.get("vae_name")))), None
    )
