"""Group nodes: several nodes folded into one by older front ends (`extra.groupNodes`), as definitions of subgraphs.

A group keeps its nodes in a list, and its links name them by their place in it. The inputs of an instance are the inputs
that no link inside feeds, in order; its widgets are those of all inner nodes one after the other.
"""

from __future__ import annotations

from typing import Any

from indexd.image_metadata import coerce

GROUPS_MAX = 100
INNER_NODES_MAX = 500

_INPUT, _OUTPUT = -10, -20


def group_definitions(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A definition for each kind of group node, by the type that its instances have."""
    groups = coerce.as_object(coerce.as_object(workflow.get("extra")).get("groupNodes"))
    found = {}
    for name, group in list(groups.items())[:GROUPS_MAX]:
        if nodes := coerce.as_objects(coerce.as_object(group).get("nodes"))[:INNER_NODES_MAX]:
            definition = _definition(nodes, group)
            found[f"workflow/{name}"] = found[f"workflow>{name}"] = definition
    return found


def with_instance_widgets(definition: dict[str, Any], instance: dict[str, Any]) -> dict[str, Any]:
    """The definition with the widget values of one instance. They are left out where they cannot be told apart."""
    if not definition.get("is_group"):
        return definition
    values = instance.get("widgets_values")
    nodes = definition["nodes"]
    lengths = [len(stated) if isinstance(stated := node.get("widgets_values"), list) else 0 for node in nodes]
    if not isinstance(values, list) or len(values) != sum(lengths):
        return {**definition, "nodes": [{**node, "widgets_values": None} for node in nodes]}
    filled, place = [], 0
    for node, length in zip(nodes, lengths, strict=True):
        filled.append({**node, "widgets_values": values[place : place + length]} if length else node)
        place += length
    return {**definition, "nodes": filled}


def _definition(nodes: list[dict[str, Any]], group: dict[str, Any]) -> dict[str, Any]:
    stated = group.get("links")
    inner: list[tuple[int, int, int, int]] = [
        (link[0], link[1], link[2], link[3])
        for link in (stated if isinstance(stated, list) else ())
        if isinstance(link, list) and len(link) >= 4 and all(isinstance(part, int) for part in link[:4])
    ]
    fed = {(target, slot) for _, _, target, slot in inner}
    used = {(source, slot) for source, slot, _, _ in inner}
    outer = group.get("external")
    external = {
        (entry[0], entry[1])
        for entry in (outer if isinstance(outer, list) else ())
        if isinstance(entry, list) and len(entry) >= 2
    }
    links: list[list[Any]] = [[None, source, slot, target, at] for source, slot, target, at in inner]
    place = 0
    for index, node in enumerate(nodes):
        for slot, _ in enumerate(coerce.as_objects(node.get("inputs"))):
            if (index, slot) not in fed:
                links.append([None, _INPUT, place, index, slot])
                place += 1
    place = 0
    for index, node in enumerate(nodes):
        for slot, _ in enumerate(coerce.as_objects(node.get("outputs"))):
            if (index, slot) not in used or (index, slot) in external:
                links.append([None, index, slot, _OUTPUT, place])
                place += 1
    return {"nodes": [{**node, "id": index} for index, node in enumerate(nodes)], "links": links, "is_group": True}
