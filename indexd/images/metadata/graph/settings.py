"""Numbers and words of a node: stated on it, or on a node that its input is linked to."""

from __future__ import annotations

from typing import Any

from indexd.images.metadata.graph.nodes import Graph, Link, Node

_VALUE_NAMES = ("value", "Value", "int", "Int", "float", "Float", "number", "seed", "seed_value", "noise_seed")
CARRIERS = (
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
CARRIERS_MAX = 40


def setting(graph: Graph, node: Node, *names: str) -> Any:
    """The first of these inputs that the node states, else the one on the nearest node that its settings come from.

    SamplerCustomAdvanced has its seed on a noise node, cfg on a guider, steps on a scheduler; pipes carry all of them.
    Returns None where nobody states it.
    """
    for current in (node, *carriers(graph, node)):
        for name in names:
            if (found := plain(graph, current, name)) is not None:
                return found
    return None


def carriers(graph: Graph, node: Node) -> list[Node]:
    """The nodes that hand a sampler its settings (noise, guider, sigmas, pipes), nearest first."""
    seen, queue = {node.id}, [node]
    for current in queue:
        for name in CARRIERS:
            link = graph.link(current, name)
            if link is not None and link.source not in seen and len(seen) <= CARRIERS_MAX:
                seen.add(link.source)
                queue.append(graph.nodes[link.source])
    return queue[1:]


def plain(graph: Graph, node: Node, name: str) -> Any:
    """The value of one input, followed through primitive nodes; None where it is missing or leads nowhere."""
    value = node.inputs.get(name)
    seen: set[str] = set()
    while (link := graph.as_link(value)) is not None:
        if link.source in seen:
            return None
        seen.add(link.source)
        value = _output(graph.nodes[link.source], name, link)
    return None if isinstance(value, list | dict) else value


def _output(node: Node, name: str, link: Link) -> Any:
    """What a node gives out under a name: the input of that name, one that is called a value, or its only number."""
    for candidate in (name, *_VALUE_NAMES):
        if candidate in node.inputs:
            return node.inputs[candidate]
    numbers = [
        value for value in node.inputs.values() if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) > link.slot and node.has("resolution", "size", "dimension"):
        return numbers[link.slot]
    if node.has("reroute", "switch"):
        return next(iter(node.inputs.values()), None)
    return None
