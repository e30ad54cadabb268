"""InvokeAI's own graph (`invokeai_graph`; `invokeai_workflow` of its editor): the settings of the node that denoises.

Both name nodes by id and edges from field to field; the editor keeps each field as `{"value": …}` below the node's `data`.
"""

from __future__ import annotations

from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ImageMetadata, MetadataLora
from indexd.image_metadata.registry import MetadataTexts

NODES_MAX = 2_000
WALK_MAX = 300
HOPS_MAX = 20

InvokeNodes = dict[str, dict[str, Any]]
InvokeEdges = dict[tuple[str, str], str]

_TEXT_INPUTS = ("prompt", "value", "string")


def metadata_from_graph(texts: MetadataTexts) -> ImageMetadata | None:
    """What a graph states; None where the file holds none."""
    for key in ("png:invokeai_graph", "png:invokeai_workflow"):
        given = texts.json_object(key)
        nodes, edges = _parse_nodes(given), _parse_edges(given)
        if not nodes:
            continue
        denoiser = next((name for name, node in nodes.items() if "denoise" in str(node.get("type"))), None)
        if denoiser is None:
            return ImageMetadata(generator="invokeai", source=key, is_ai="metadata")
        return _metadata(nodes, edges, denoiser, key)
    return None


def _metadata(nodes: InvokeNodes, edges: InvokeEdges, denoiser: str, source: str) -> ImageMetadata:
    node = nodes[denoiser]
    order = [denoiser, *(name for name in _upstream(edges, denoiser) if name in nodes)]
    behind = [nodes[name] for name in order[1:]]
    # A model that was chosen by a node in between is still the only one there.
    model = next(
        (found for one in (*behind, *nodes.values()) if (found := _model_name(one.get("model"))) is not None), None
    )
    loras = (
        MetadataLora(name, coerce.parse_float(one.get("weight")))
        for one in behind
        if "lora" in str(one.get("type")) and (name := _model_name(one.get("lora"))) is not None
    )
    return ImageMetadata(
        generator="invokeai",
        source=source,
        is_ai="metadata",
        prompt=_find_text(nodes, edges, denoiser, ("positive_conditioning", "positive_text_conditioning")),
        negative_prompt=_find_text(nodes, edges, denoiser, ("negative_conditioning", "negative_text_conditioning")),
        seed=next(
            (seed for name in order if (seed := coerce.parse_seed(_field_value(nodes, edges, name, "seed")))), None
        ),
        steps=coerce.parse_int(_field_value(nodes, edges, denoiser, "steps" if "steps" in node else "num_steps")),
        cfg=coerce.parse_float(_field_value(nodes, edges, denoiser, "cfg_scale")),
        guidance=coerce.parse_float(_field_value(nodes, edges, denoiser, "guidance")),
        sampler=coerce.nonempty_text(_field_value(nodes, edges, denoiser, "scheduler")),
        model_name=model,
        gen_width=_side(nodes, edges, order, "width"),
        gen_height=_side(nodes, edges, order, "height"),
        loras=tuple(loras),
    )


def _parse_nodes(given: dict[str, Any]) -> InvokeNodes:
    listed = given.get("nodes")
    if isinstance(listed, dict):
        return {str(name): node for name, node in list(listed.items())[:NODES_MAX] if isinstance(node, dict)}
    found: InvokeNodes = {}
    for item in coerce.as_objects(listed)[:NODES_MAX]:
        data = coerce.as_object(item.get("data"))
        fields = {
            name: coerce.as_object(field).get("value") for name, field in coerce.as_object(data.get("inputs")).items()
        }
        found[str(item.get("id"))] = {**fields, "type": data.get("type")}
    return found


def _parse_edges(given: dict[str, Any]) -> InvokeEdges:
    """What feeds each field, by node and field."""
    found: InvokeEdges = {}
    for edge in coerce.as_objects(given.get("edges"))[: 4 * NODES_MAX]:
        source, target = edge.get("source"), edge.get("destination", edge.get("target"))
        if isinstance(source, dict) and isinstance(target, dict):
            found[str(target.get("node_id")), str(target.get("field"))] = str(source.get("node_id"))
        else:
            found[str(target), str(edge.get("targetHandle"))] = str(source)
    return found


def _upstream(edges: InvokeEdges, start: str) -> list[str]:
    """The nodes that feed this one, nearest first, each once."""
    feeds: dict[str, list[str]] = {}
    for (target, _), source in edges.items():
        feeds.setdefault(target, []).append(source)
    queue, seen = [start], {start}
    for name in queue:
        for source in feeds.get(name, ()):
            if source not in seen and len(seen) < WALK_MAX:
                seen.add(source)
                queue.append(source)
    return queue[1:]


def _find_text(nodes: InvokeNodes, edges: InvokeEdges, node: str, fields: tuple[str, ...]) -> str | None:
    """The text of the nearest node behind one of these fields that has one."""
    start = next((source for field in fields if (source := edges.get((node, field))) is not None), None)
    if start is None:
        return None
    for name in (start, *_upstream(edges, start)):
        for key in _TEXT_INPUTS:
            if isinstance(text := nodes.get(name, {}).get(key), str) and (text or (name, key) not in edges):
                return coerce.clean_text(text)
    return None


def _field_value(nodes: InvokeNodes, edges: InvokeEdges, node: str, field: str) -> object:
    """The value of a field, or of the constant that it is linked to. What stands under a link was not used."""
    for _ in range(HOPS_MAX):
        source = edges.get((node, field))
        if source is None:
            return nodes.get(node, {}).get(field)
        node, field = source, "value"
    return None


def _side(nodes: InvokeNodes, edges: InvokeEdges, order: list[str], field: str) -> int | None:
    return next((side for name in order if (side := coerce.parse_int(_field_value(nodes, edges, name, field)))), None)


def _model_name(model: object) -> str | None:
    given = coerce.as_object(model)
    return coerce.parse_model_name(given.get("name") or given.get("model_name"))
