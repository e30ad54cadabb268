"""Numbers and words of a node: stated on it, or on a node that its input is linked to."""

from __future__ import annotations

from typing import Any

from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink

_VALUE_NAMES = ("value", "Value", "int", "Int", "float", "Float", "number", "seed", "seed_value", "noise_seed")
SETTINGS_INPUTS = (
    "noise",
    "guider",
    "sampler",
    "sigmas",
    "pipe",
    "basic_pipe",
    "detailer_pipe",
    "context",
    "base_ctx",
    "sdxl_tuple",
    "script",
)
SETTINGS_NODES_MAX = 40


def find_setting(graph: NodeGraph, node: GraphNode, *names: str) -> Any:
    """The first of these inputs that the node states, else the one on the nearest node that its settings come from.

    SamplerCustomAdvanced has its seed on a noise node, cfg on a guider, steps on a scheduler; pipes carry all of them.
    Returns None where nobody states it.
    """
    for current in (node, *settings_nodes(graph, node)):
        for name in names:
            if (found := resolve_input(graph, current, name)) is not None:
                return found
    return None


def settings_nodes(graph: NodeGraph, node: GraphNode) -> list[GraphNode]:
    """The nodes that hand a sampler its settings (noise, guider, sigmas, pipes), nearest first."""
    seen, queue = {node.id}, [node]
    for current in queue:
        for name in SETTINGS_INPUTS:
            link = graph.link_at(current, name)
            if link is not None and link.source not in seen and len(seen) <= SETTINGS_NODES_MAX:
                seen.add(link.source)
                queue.append(graph.nodes[link.source])
    return queue[1:]


def resolve_input(graph: NodeGraph, node: GraphNode, name: str) -> Any:
    """The value of one input, followed through primitive nodes; None where it is missing or leads nowhere."""
    value = node.inputs.get(name)
    seen: set[str] = set()
    while (link := graph.as_link(value)) is not None:
        if link.source in seen:
            return None
        seen.add(link.source)
        value = _output_value(graph.nodes[link.source], name, link)
    return None if isinstance(value, list | dict) else value


def _output_value(node: GraphNode, name: str, link: NodeLink) -> Any:
    """What a node gives out under a name: the input of that name, one that is called a value, or its only number."""
    for candidate in (name, *_VALUE_NAMES):
        if candidate in node.inputs:
            return node.inputs[candidate]
    numbers = [
        value for value in node.inputs.values() if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) > link.slot and node.kind_contains("resolution", "size", "dimension"):
        return numbers[link.slot]
    if node.kind_contains("reroute", "switch"):
        return next(iter(node.inputs.values()), None)
    return None
