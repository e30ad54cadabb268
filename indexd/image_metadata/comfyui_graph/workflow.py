"""A UI workflow turned into the graph that would have been sent: names for widgets, links for everything virtual.

Reroutes and primitives stay nodes (the tracer walks through them); bypassed nodes hand on their input of the same type;
muted ones are gone; Get/Set pairs and "Anything Everywhere" become links; subgraphs are unfolded as `outer:inner`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.node_graph import NODES_MAX, NodeGraph, make_node
from indexd.image_metadata.comfyui_graph.widget_names import AFTER_GENERATE, SEED_CHOICES, WIDGET_NAMES

MUTED, BYPASSED = 2, 4
SUBGRAPH_DEPTH_MAX = 8

_SUBGRAPH_INPUT, _SUBGRAPH_OUTPUT = -10, -20
_EVERYWHERE_KINDS = ("anything everywhere", "prompts everywhere", "seed everywhere")

LinkOrigin = tuple[str, int]


@dataclass(slots=True)
class _FlatWorkflow:
    """Nodes of all levels by their full id, and what every (node, input) is fed from."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    feeds: dict[tuple[str, int], LinkOrigin] = field(default_factory=dict)
    outlets: dict[LinkOrigin, LinkOrigin] = field(default_factory=dict)


def graph_from_workflow(workflow: object) -> NodeGraph | None:
    """The graph of a UI workflow, or None when it is none."""
    shape = coerce.as_object(workflow)
    if not coerce.as_objects(shape.get("nodes")):
        return None
    definitions = {
        str(item.get("id")): item
        for item in coerce.as_objects(coerce.as_object(shape.get("definitions")).get("subgraphs"))
    }
    flat = _FlatWorkflow()
    _flatten(flat, shape, definitions, "", {}, 0)
    wires = _LinkResolver(flat)
    return NodeGraph(
        make_node(key, str(item.get("type")), wires.inputs(key, item))
        for key, item in flat.nodes.items()
        if item.get("mode") not in (MUTED, BYPASSED)
    )


def _flatten(
    flat: _FlatWorkflow,
    workflow: dict[str, Any],
    definitions: dict[str, dict[str, Any]],
    prefix: str,
    input_origins: dict[int, LinkOrigin],
    depth: int,
) -> dict[int, LinkOrigin]:
    """Add one level to `flat`; `fed` says what feeds its inputs, the answer what its outputs come from."""
    outputs: dict[int, LinkOrigin] = {}
    for link in _parse_links(workflow.get("links")):
        source, source_slot, target, target_slot = link
        origin = input_origins.get(source_slot) if source == _SUBGRAPH_INPUT else (f"{prefix}{source}", source_slot)
        if origin is None:
            continue
        if target == _SUBGRAPH_OUTPUT:
            outputs[target_slot] = origin
        else:
            flat.feeds[(f"{prefix}{target}", target_slot)] = origin
    for item in coerce.as_objects(workflow.get("nodes")):
        if len(flat.nodes) >= NODES_MAX:
            break
        key = f"{prefix}{item.get('id')}"
        inner = definitions.get(str(item.get("type")))
        if inner is None or depth >= SUBGRAPH_DEPTH_MAX:
            flat.nodes[key] = item
            continue
        feeds = {slot: origin for (target, slot), origin in list(flat.feeds.items()) if target == key}
        for slot, origin in _flatten(flat, inner, definitions, f"{key}:", feeds, depth + 1).items():
            flat.outlets[(key, slot)] = origin
    return outputs


def _parse_links(links: object) -> list[tuple[Any, int, Any, int]]:
    """Links as (source, slot, target, slot); the top level keeps them as lists, subgraphs as objects."""
    found = []
    for link in links if isinstance(links, list) else ():
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
            if kind == "SetNode" and (origin := flat.feeds.get((key, 0))) is not None:
                self._set_nodes.setdefault(_first_widget(item), origin)
            elif kind.lower().startswith(_EVERYWHERE_KINDS):
                self._add_everywhere(key, item, kind)

    def inputs(self, key: str, item: dict[str, Any]) -> dict[str, Any]:
        """Every input of a node by name: plain values, and links as `[id, slot]`."""
        inputs = _widget_values(item)
        for slot, declared in enumerate(coerce.as_objects(item.get("inputs"))):
            name = str(declared.get("name"))
            origin = self._resolve_origin(self._flat.feeds.get((key, slot)))
            if origin is None and "widget" not in declared:
                origin = self._everywhere_origin(name, str(declared.get("type")))
            if origin is not None:
                inputs[name] = list(origin)
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
            if declared.get("type") == wanted and (behind := self._flat.feeds.get((origin[0], slot))) is not None:
                return behind
        return None

    def _add_everywhere(self, key: str, item: dict[str, Any], kind: str) -> None:
        if kind.lower().startswith("seed"):
            self._everywhere.setdefault("seed", (key, 0))
        for slot, declared in enumerate(coerce.as_objects(item.get("inputs"))):
            origin = self._flat.feeds.get((key, slot))
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


def _widget_values(item: dict[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets by name; stated by the workflow, else from the table of known nodes."""
    stated = item.get("widgets_values")
    if isinstance(stated, dict):
        return dict(stated)
    if not isinstance(stated, list):
        return {}
    known = WIDGET_NAMES.get(str(item.get("type")))
    if known is not None and len(known) <= len(stated):
        return {name: value for name, value in zip(known, stated, strict=False) if name != AFTER_GENERATE}
    declared = [str(entry.get("name")) for entry in coerce.as_objects(item.get("inputs")) if "widget" in entry]
    found: dict[str, Any] = {}
    place = 0
    for name in declared or known or ():
        if place < len(stated) and str(stated[place]) in SEED_CHOICES and name not in ("sampler_name", "scheduler"):
            place += 1
        if place >= len(stated):
            break
        found[name] = stated[place]
        place += 1
    if not found and len(stated) == 1:
        found["value"] = stated[0]
    return found


def _first_widget(item: dict[str, Any]) -> str:
    stated = item.get("widgets_values")
    return str(stated[0]) if isinstance(stated, list) and stated else ""
