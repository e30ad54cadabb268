"""The trace of one graph: which samplers made the picture, in which order, from which texts and models.

It starts at the node that saved the picture and walks back. The primary pass is the first one on that way: the sampler
whose latent comes from no other sampler (an empty latent, or an encoded picture).
"""

from __future__ import annotations

import re

from indexd.images.facts import Metadata, SamplerPass
from indexd.images.metadata import values
from indexd.images.metadata.graph.conditioning import Conditionings, main_text
from indexd.images.metadata.graph.further import detailers, embeddings_in, enlarged, refiner_of, resources
from indexd.images.metadata.graph.models import model_chain
from indexd.images.metadata.graph.nodes import Budget, Graph, Link, Node
from indexd.images.metadata.graph.settings import carriers, plain, setting

PASSES_MAX = 20
OUTPUTS_MAX = 50

_SEEDS = ("seed", "noise_seed", "seed_value", "seed_num")
_DRIVERS = ("model", "guider", "basic_pipe", "pipe", "detailer_pipe", "base_ctx", "context", "sdxl_tuple")
_NOT_LATENT = frozenset(
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
_OUTPUTS = ("save", "preview", "output", "combine", "websocket", "export")
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


def traced(graph: Graph, source: str) -> Metadata | None:
    """The metadata that a graph states; None where no sampler is in it."""
    passes = _ordered(graph)
    if not passes:
        return None
    primary = passes[0]
    conditionings = Conditionings(graph, Budget())
    prompt, others = main_text(conditionings.passages(_side(graph, primary, "positive"), "positive"))
    controls = tuple(conditionings.controls)
    negative_link = _side(graph, primary, "negative")
    negatives = conditionings.passages(negative_link, "negative")
    negative = main_text(negatives)[0] if negative_link is not None else ""
    if prompt is None and negative_link is None:
        negative = None
    model, loras = model_chain(graph, primary)
    size = _size(graph, primary)
    described = tuple(_described(graph, node) for node in passes[:PASSES_MAX])
    first = described[0]
    return Metadata(
        generator="comfyui",
        source=source,
        is_ai="metadata",
        prompt=values.text(prompt),
        negative_prompt=values.text(negative),
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
        refiner=refiner_of(described),
        **enlarged(graph, passes),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=loras,
        controls=controls,
        passes=described,
        embeddings=embeddings_in(prompt, *others, *(passage.text for passage in negatives)),
        detailers=tuple(detailers(graph, passes)),
        resources=tuple(resources(graph)),
        extras=(
            *(("other prompt", values.extra(text)) for text in others),
            *(("source image", values.extra(name)) for name in _source_images(graph, primary)),
        ),
    )


def _is_sampler(graph: Graph, node: Node) -> bool:
    """A node that is driven by a model (or a guider, or a pipe) and has steps or sigmas: KSampler and all its kin."""
    inputs = node.inputs
    has_steps = "steps" in inputs or "sigmas" in inputs or "sampler_name" in inputs or node.has("ksampler")
    if not has_steps or node.has("scheduler", "presampling", "selector", "sigmas"):
        return False
    starts = any(name in inputs for name in (*_SEEDS, "noise")) or node.has("ksampler")
    return starts and any(graph.link(node, name) is not None for name in _DRIVERS)


def _ordered(graph: Graph) -> list[Node]:
    """The samplers behind the saved picture, first pass first."""
    samplers = {node.id: node for node in graph.nodes.values() if _is_sampler(graph, node)}
    reached = _reached(graph, samplers) or list(samplers.values())
    # Further from the output is earlier; a pass whose latent comes from another sampler is never the first.
    before = {node.id: _samplers_before(graph, node, samplers) for node in reached[:PASSES_MAX]}
    ordered = sorted(
        enumerate(reached[:PASSES_MAX]),
        key=lambda item: (len(before[item[1].id]), not _from_nothing(graph, item[1]), -item[0]),
    )
    return [node for _, node in ordered]


def _reached(graph: Graph, samplers: dict[str, Node]) -> list[Node]:
    """The samplers behind the output with the longest way, nearest to it first; saved pictures before previews.

    A graph that saves each of its passes is embedded in every one of the files, and nothing tells them apart.
    """
    best: list[Node] = []
    best_rank = 0
    for rank, output in _outputs(graph)[:OUTPUTS_MAX]:
        if best and rank > best_rank:
            break
        found = [node for node in (output, *graph.upstream([output.id])) if node.id in samplers]
        if len(found) > len(best):
            best, best_rank = found, rank
    return best


def _outputs(graph: Graph) -> list[tuple[int, Node]]:
    """The nodes that nobody takes anything from with their rank: 0 saves a file, 1 shows one, 2 anything else."""
    taken = {link.source for node in graph.nodes.values() for _, link in graph.links(node)}
    ends = [node for node in graph.nodes.values() if node.id not in taken and any(True for _ in graph.links(node))]
    ranked = [(0 if node.has("save") else 1 if node.has(*_OUTPUTS) else 2, node) for node in ends]
    return sorted(ranked, key=lambda item: item[0])


def _samplers_before(graph: Graph, node: Node, samplers: dict[str, Node]) -> set[str]:
    return {found.id for found in graph.upstream([node.id], unless=_NOT_LATENT) if found.id in samplers} - {node.id}


def _from_nothing(graph: Graph, node: Node) -> bool:
    return any(found.has("empty") for found in graph.upstream([node.id], unless=_NOT_LATENT))


def _described(graph: Graph, node: Node) -> SamplerPass:
    return SamplerPass(
        _seed(graph, node),
        values.whole(setting(graph, node, "steps")),
        values.number(setting(graph, node, "cfg", "cfg_scale", "cfg_conds")),
        _sampler_name(graph, node),
        _schedule(graph, node),
        values.number(setting(graph, node, "denoise")),
        model_chain(graph, node)[0],
        values.whole(plain(graph, node, "start_at_step")),
        values.whole(plain(graph, node, "end_at_step")),
    )


def _seed(graph: Graph, node: Node) -> str | None:
    return values.seed(setting(graph, node, *_SEEDS))


def _sampler_name(graph: Graph, node: Node) -> str | None:
    stated = values.stated(setting(graph, node, "sampler_name"))
    if stated is not None:
        return stated
    word = values.stated(plain(graph, node, "sampler"))
    if word is not None:
        return word
    link = graph.link(node, "sampler")
    if link is None:
        return None
    # SamplerEulerAncestral, SamplerDPMPP_2M_SDE: one node class for each sampler.
    name = graph.nodes[link.source].kind.removeprefix("Sampler")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() or None


def _schedule(graph: Graph, node: Node) -> str | None:
    stated = values.stated(setting(graph, node, "scheduler", "scheduler_name"))
    link = graph.link(node, "sigmas")
    if stated is not None or link is None:
        return stated
    behind = (graph.nodes[link.source], *graph.upstream([link.source], unless=frozenset(("model",))))
    return next((_NAMED_SCHEDULES[found.lower] for found in behind if found.lower in _NAMED_SCHEDULES), None)


def _side(graph: Graph, sampler: Node, side: str) -> Link | None:
    """The link that brings a sampler its positive or negative conditioning, on itself, its guider or its pipe."""
    names = ("positive", "conditioning", "cond1", "text_embeds") if side == "positive" else ("negative", "text_embeds")
    for node in (sampler, *carriers(graph, sampler)):
        for name in names:
            if (link := graph.link(node, name)) is not None:
                return link
            # "Efficient" loaders hold the text itself where others have a link.
            if isinstance(node.inputs.get(name), str) and node is not sampler:
                return Link(node.id, 0 if side == "positive" else 1)
    return None


def _size(graph: Graph, sampler: Node) -> tuple[int, int] | None:
    """Width and height in pixels of the latent that the first pass began with."""
    # A pipe brings the size along with everything else.
    for node in (*graph.upstream([sampler.id], unless=_NOT_LATENT), *carriers(graph, sampler)):
        for prefix in ("", "empty_latent_"):
            width, height = (values.whole(plain(graph, node, f"{prefix}{name}")) for name in ("width", "height"))
            if width and height:
                return width, height
        for name in ("dimensions", "resolution", "size"):
            if (found := values.size(node.inputs.get(name))) is not None:
                return found
    return None


def _source_images(graph: Graph, sampler: Node) -> list[str]:
    """The names of the pictures that the first pass began with (img2img)."""
    behind = graph.upstream([sampler.id], unless=_NOT_LATENT)
    names = (values.stated(node.inputs.get("image")) for node in behind if node.has("loadimage"))
    return [name for name in names if name is not None]


def _clip_skip(graph: Graph, sampler: Node) -> int | None:
    for node in graph.upstream([sampler.id]):
        last = values.whole(node.inputs.get("stop_at_clip_layer"))
        if last is not None:
            return -last
    return None


def _vae(graph: Graph) -> str | None:
    return next(
        (name for node in graph.nodes.values() if (name := values.model_name(node.inputs.get("vae_name")))), None
    )
