"""A UI workflow turned into the graph that would have been sent: names for widgets, links for everything virtual.

Reroutes and primitives stay nodes (the tracer follows them); bypassed nodes pass on their input of the same type; muted
ones are left out; Get/Set pairs and "Anything Everywhere" become links; subgraphs and group nodes are unfolded as
`outer:inner`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.group_nodes import group_definitions, with_instance_widgets
from indexd.image_metadata.comfyui_graph.node_graph import NODES_MAX, GraphNode, NodeGraph, NodeShape
from indexd.image_metadata.comfyui_graph.widget_values import name_widgets

MUTED, BYPASSED = 2, 4
SUBGRAPH_DEPTH_MAX = 8
SUBGRAPHS_MAX = 500
"""Subgraphs and group nodes unfolded in one workflow, the empty ones included."""
LINKS_MAX = 20_000

_SUBGRAPH_INPUT, _SUBGRAPH_OUTPUT = -10, -20
_EVERYWHERE_KINDS = ("anything everywhere", "prompts everywhere", "seed everywhere")

LinkOrigin = tuple[str, int]


@dataclass(slots=True)
class _FlatWorkflow:
    """Nodes of all levels by their full id, and what the inputs of each are fed from, by slot."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    feeds: dict[str, dict[int, LinkOrigin]] = field(default_factory=dict)
    outlets: dict[LinkOrigin, LinkOrigin] = field(default_factory=dict)
    open_inputs: set[tuple[str, int]] = field(default_factory=set)
    subgraphs_left: int = SUBGRAPHS_MAX
    links_left: int = LINKS_MAX

    def feed_of(self, key: str, slot: int) -> LinkOrigin | None:
        """What feeds one input slot."""
        return self.feeds.get(key, {}).get(slot)


def graph_from_workflow(workflow: object) -> NodeGraph | None:
    """The graph of a UI workflow, or None when it is none."""
    flat = _flatten_workflow(workflow)
    if flat is None:
        return None
    wires = _LinkResolver(flat)
    return NodeGraph.from_nodes(
        GraphNode(
            key,
            kind := str(item.get("type")),
            wires.inputs(key, item),
            kind.lower(),
            tuple(item["widgets_values"]) if isinstance(item.get("widgets_values"), list) else (),
            _shape(item),
        )
        for key, item in flat.nodes.items()
        if item.get("mode") not in (MUTED, BYPASSED)
    )


def shapes_from_workflow(workflow: object) -> Mapping[str, NodeShape]:
    """The declared inputs and outputs of every node of a workflow, by the id that the node has in the API prompt."""
    flat = _flatten_workflow(workflow)
    return {} if flat is None else {key: _shape(item) for key, item in flat.nodes.items()}


def _flatten_workflow(workflow: object) -> _FlatWorkflow | None:
    shape = coerce.as_object(workflow)
    if not coerce.as_objects(shape.get("nodes")):
        return None
    definitions = {
        str(item.get("id")): item
        for item in coerce.as_objects(coerce.as_object(shape.get("definitions")).get("subgraphs"))
    }
    definitions.update(group_definitions(shape))
    flat = _FlatWorkflow()
    _flatten(flat, shape, definitions, "", {}, 0)
    return flat


def _shape(item: dict[str, Any]) -> NodeShape:
    outputs = tuple(
        (str(entry.get("label") or entry.get("name") or ""), str(entry.get("type")))
        for entry in coerce.as_objects(item.get("outputs"))[:100]
    )
    types = {str(entry.get("name")): str(entry.get("type")) for entry in coerce.as_objects(item.get("inputs"))[:200]}
    return NodeShape(outputs, types)


def _flatten(
    flat: _FlatWorkflow,
    workflow: dict[str, Any],
    definitions: dict[str, dict[str, Any]],
    prefix: str,
    input_origins: Mapping[int, LinkOrigin],
    depth: int,
) -> dict[int, LinkOrigin]:
    """Add one level to `flat`. Takes what feeds the inputs of the level; returns what its outputs come from."""
    outputs: dict[int, LinkOrigin] = {}
    for source, source_slot, target, target_slot in _parse_links(workflow.get("links"), flat):
        origin = input_origins.get(source_slot) if source == _SUBGRAPH_INPUT else (f"{prefix}{source}", source_slot)
        if origin is None:
            flat.open_inputs.add((f"{prefix}{target}", target_slot))
            continue
        if target == _SUBGRAPH_OUTPUT:
            outputs[target_slot] = origin
        else:
            flat.feeds.setdefault(f"{prefix}{target}", {})[target_slot] = origin
    for item in coerce.as_objects(workflow.get("nodes")):
        if len(flat.nodes) >= NODES_MAX:
            break
        key = f"{prefix}{item.get('id')}"
        inner = definitions.get(str(item.get("type")))
        if inner is None or depth >= SUBGRAPH_DEPTH_MAX or item.get("mode") in (MUTED, BYPASSED):
            flat.nodes[key] = item
            continue
        if flat.subgraphs_left <= 0:
            break
        flat.subgraphs_left -= 1
        inner = with_instance_widgets(inner, item)
        origins = {**_promoted_widgets(flat, key, item), **flat.feeds.get(key, {})}
        for slot, origin in _flatten(flat, inner, definitions, f"{key}:", origins, depth + 1).items():
            flat.outlets[(key, slot)] = origin
    return outputs


def _promoted_widgets(flat: _FlatWorkflow, key: str, instance: dict[str, Any]) -> dict[int, LinkOrigin]:
    """Constants for the inputs of a subgraph that have a widget on the instance, in the order of its values."""
    slots = [slot for slot, entry in enumerate(coerce.as_objects(instance.get("inputs"))) if "widget" in entry]
    values = instance.get("widgets_values")
    if not isinstance(values, list) or len(values) != len(slots):
        return {}
    origins = {}
    for slot, value in zip(slots, values, strict=True):
        constant = f"{key}:input-{slot}"
        flat.nodes[constant] = {"type": "PrimitiveNode", "widgets_values": [value]}
        origins[slot] = (constant, 0)
    return origins


def _parse_links(links: object, flat: _FlatWorkflow) -> list[tuple[Any, int, Any, int]]:
    """Links as (source, slot, target, slot); the top level keeps them as lists, subgraphs as objects."""
    found = []
    for link in links if isinstance(links, list) else ():
        if flat.links_left <= 0:
            break
        flat.links_left -= 1
        if isinstance(link, list) and len(link) >= 5:
            row = (link[1], link[2], link[3], link[4])
        elif isinstance(link, dict):
            row = (link.get("origin_id"), link.get("origin_slot"), link.get("target_id"), link.get("target_slot"))
        else:
            continue
        if isinstance(row[1], int) and isinstance(row[3], int):
            found.append(row)
    return found


class _LinkResolver:
    """The inputs of flat nodes: widgets by name, and links followed through what the front end resolves itself."""

    def __init__(self, flat: _FlatWorkflow) -> None:
        self._flat = flat
        self._set_nodes: dict[str, LinkOrigin] = {}
        self._everywhere: dict[str, LinkOrigin] = {}
        for key, item in flat.nodes.items():
            kind = str(item.get("type"))
            if kind == "SetNode" and (origin := flat.feed_of(key, 0)) is not None:
                self._set_nodes.setdefault(_first_widget(item), origin)
            elif kind.lower().startswith(_EVERYWHERE_KINDS):
                self._add_everywhere(key, item, kind)

    def inputs(self, key: str, item: dict[str, Any]) -> dict[str, Any]:
        """Every input of a node by name: plain values, and links as `[id, slot]`."""
        inputs = name_widgets(item)
        for slot, declared in enumerate(coerce.as_objects(item.get("inputs"))):
            name = str(declared.get("name"))
            origin = self._resolve_origin(self._flat.feed_of(key, slot))
            if origin is None and "widget" not in declared:
                origin = self._everywhere_origin(name, str(declared.get("type")))
            if origin is not None:
                inputs[name] = list(origin)
            elif declared.get("link") is not None and (key, slot) not in self._flat.open_inputs:
                # The link leads nowhere that is known: the value below it was not used.
                inputs.pop(name, None)
        return inputs

    def _resolve_origin(self, origin: LinkOrigin | None) -> LinkOrigin | None:
        for _ in range(100):
            if origin is None:
                return None
            if origin in self._flat.outlets:
                origin = self._flat.outlets[origin]
                continue
            source = self._flat.nodes.get(origin[0])
            if source is None or source.get("mode") == MUTED:
                return None
            if source.get("type") == "GetNode":
                origin = self._set_nodes.get(_first_widget(source))
            elif source.get("mode") == BYPASSED:
                origin = self._origin_behind_bypassed(origin, source)
            else:
                return origin
        return None

    def _origin_behind_bypassed(self, origin: LinkOrigin, source: dict[str, Any]) -> LinkOrigin | None:
        outputs = coerce.as_objects(source.get("outputs"))
        wanted = outputs[origin[1]].get("type") if 0 <= origin[1] < len(outputs) else None
        for slot, declared in enumerate(coerce.as_objects(source.get("inputs"))):
            if declared.get("type") == wanted and (behind := self._flat.feed_of(origin[0], slot)) is not None:
                return behind
        return None

    def _add_everywhere(self, key: str, item: dict[str, Any], kind: str) -> None:
        if kind.lower().startswith("seed"):
            self._everywhere.setdefault("seed", (key, 0))
        for slot, declared in enumerate(coerce.as_objects(item.get("inputs"))):
            origin = self._flat.feed_of(key, slot)
            if origin is None:
                continue
            if kind.lower().startswith("prompts"):
                self._everywhere.setdefault("negative" if slot else "positive", origin)
            else:
                self._everywhere.setdefault(self._link_type(origin, declared), origin)

    def _link_type(self, origin: LinkOrigin, declared: dict[str, Any]) -> str:
        outputs = coerce.as_objects(self._flat.nodes.get(origin[0], {}).get("outputs"))
        stated = outputs[origin[1]].get("type") if 0 <= origin[1] < len(outputs) else None
        return str(stated or declared.get("type"))

    def _everywhere_origin(self, name: str, kind: str) -> LinkOrigin | None:
        return self._resolve_origin(self._everywhere.get(name) or self._everywhere.get(kind))


def _first_widget(item: dict[str, Any]) -> str:
    stated = item.get("widgets_values")
    return str(stated[0]) if isinstance(stated, list) and stated else ""
