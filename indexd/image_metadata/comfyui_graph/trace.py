"""The trace of one graph: from which texts, models and settings the saved image was made.

It starts at the node that saved the image and walks back. The primary pass is the first one on that way: the sampler
whose latent comes from no other sampler (an empty latent, or an encoded image).
"""

from __future__ import annotations

import re

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.checkpoint_loras import find_checkpoint_and_loras
from indexd.image_metadata.comfyui_graph.conditioning_trace import ConditioningTracer, select_main_text
from indexd.image_metadata.comfyui_graph.input_values import SEED_INPUTS, find_setting, resolve_input, settings_nodes
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink, TraceBudget
from indexd.image_metadata.comfyui_graph.other_fields import (
    find_detailers,
    find_embeddings,
    find_refiner,
    find_resources,
    find_upscaling,
)
from indexd.image_metadata.comfyui_graph.sampler_order import (
    NON_LATENT_INPUTS,
    PASSES_MAX,
    ordered_passes,
    stated_size,
)
from indexd.image_metadata.comfyui_graph.without_sampler import trace_without_sampler
from indexd.image_metadata.model import ImageMetadata, SamplerPass

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


def trace_metadata(graph: NodeGraph, source: str, image_size: tuple[int, int] | None = None) -> ImageMetadata | None:
    """The metadata that a graph states; None where nothing in it generates an image.

    `image_size` is the size of the file in pixels; it tells which of several outputs the file is.
    """
    passes = ordered_passes(graph, image_size)
    if not passes:
        return trace_without_sampler(graph, source)
    primary = passes[0]
    conditionings = ConditioningTracer(graph, TraceBudget())
    prompt, others = _prompt(graph, conditionings, passes)
    controls = tuple(conditionings.controls)
    negative, negatives = _negative(graph, conditionings, primary, prompt)
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
        embeddings=find_embeddings(prompt, *others, *negatives),
        detailers=tuple(find_detailers(graph, passes)),
        resources=tuple(find_resources(graph)),
        extras=(
            *(("other prompt", coerce.display_text(text)) for text in others),
            *(("source image", coerce.display_text(name)) for name in _source_images(graph, primary)),
        ),
    )


def _prompt(
    graph: NodeGraph, conditionings: ConditioningTracer, passes: list[GraphNode]
) -> tuple[str | None, list[str]]:
    """The prompt of the first pass that has one, and its other texts."""
    for node in passes:
        link = _conditioning_link(graph, node, "positive")
        prompt, others = select_main_text(conditionings.trace_passages(link, "positive"))
        if prompt is not None:
            return prompt, others
    return None, []


def _negative(
    graph: NodeGraph, conditionings: ConditioningTracer, primary: GraphNode, prompt: str | None
) -> tuple[str | None, list[str]]:
    """The negative prompt and all texts on its side; empty where the sampler takes none."""
    link = _conditioning_link(graph, primary, "negative")
    if link is None:
        return (None if prompt is None else ""), []
    passages = conditionings.trace_passages(link, "negative")
    return select_main_text(passages)[0], [passage.text for passage in passages]


def _describe_pass(graph: NodeGraph, node: GraphNode) -> SamplerPass:
    return SamplerPass(
        _seed(graph, node),
        coerce.parse_int(find_setting(graph, node, "steps", "base_steps")),
        coerce.parse_float(find_setting(graph, node, "cfg", "cfg_scale", "cfg_conds", "base_cfg")),
        _sampler_name(graph, node),
        _schedule(graph, node),
        coerce.parse_float(find_setting(graph, node, "denoise", "base_denoise")),
        find_checkpoint_and_loras(graph, node)[0],
        coerce.parse_int(resolve_input(graph, node, "start_at_step")),
        coerce.parse_int(resolve_input(graph, node, "end_at_step")),
    )


def _seed(graph: NodeGraph, node: GraphNode) -> str | None:
    return coerce.parse_seed(find_setting(graph, node, *SEED_INPUTS))


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
    texts = (side, f"{side}_g", f"{side}_prompt")
    for node in (sampler, *settings_nodes(graph, sampler)):
        for name in names:
            if (link := graph.link_at(node, name)) is not None:
                return link
        # "Efficient" loaders hold the text itself where others have a link.
        if node is not sampler and any(isinstance(node.inputs.get(name), str) for name in texts):
            return NodeLink(node.id, 0 if side == "positive" else 1)
    return None


def _latent_size(graph: NodeGraph, sampler: GraphNode) -> tuple[int, int] | None:
    """Width and height in pixels of the latent that the first pass began with."""
    # A pipe brings the size along with everything else.
    nodes = (*graph.iter_upstream([sampler.id], skip_inputs=NON_LATENT_INPUTS), *settings_nodes(graph, sampler))
    return next((size for node in nodes if (size := stated_size(graph, node)) is not None), None)


def _source_images(graph: NodeGraph, sampler: GraphNode) -> list[str]:
    """The names of the input images of the first pass (img2img)."""
    behind = graph.iter_upstream([sampler.id], skip_inputs=NON_LATENT_INPUTS)
    names = (coerce.nonempty_text(node.inputs.get("image")) for node in behind if node.kind_contains("loadimage"))
    return [name for name in names if name is not None]


def _clip_skip(graph: NodeGraph, sampler: GraphNode) -> int | None:
    """The number of the CLIP layer that is used, counted from the last one (1)."""
    for node in graph.iter_upstream([sampler.id]):
        for name in ("stop_at_clip_layer", "clip_skip", "base_clip_skip"):
            last = coerce.parse_int(resolve_input(graph, node, name))
            if last is not None:
                return abs(last) or None
    return None


def _vae(graph: NodeGraph) -> str | None:
    return next(
        (name for node in graph.nodes.values() if (name := coerce.parse_model_name(node.inputs.get("vae_name")))), None
    )
