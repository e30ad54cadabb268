"""A graph of nodes with named inputs, as ComfyUI's API format has it: the common ground of the tracer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NODES_MAX = 5_000
UPSTREAM_MAX = 2_000


class NodeLink(NamedTuple):
    """The output `slot` of the node `source`."""

    source: str
    slot: int


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node: `kind` is its class, `inputs` holds values and links by input name."""

    id: str
    kind: str
    inputs: Mapping[str, Any]
    kind_lower: str = field(default="")

    def kind_contains(self, *words: str) -> bool:
        """Whether the name of the class holds one of these words (lower case)."""
        return any(word in self.kind_lower for word in words)


class NodeGraph:
    """Nodes by id. Ids are texts of any form: "3", "30:6" inside a subgraph, "resource-stack"."""

    def __init__(self, nodes: Iterable[GraphNode]) -> None:
        self.nodes: dict[str, GraphNode] = {node.id: node for node in nodes}

    @classmethod
    def from_api_prompt(cls, prompt: object) -> NodeGraph | None:
        """The graph of an API prompt (`{id: {"class_type", "inputs"}}`), or None when it is none.

        Keys that are no nodes (Civitai's `extra` and `extraMetadata`) are passed over.
        """
        if not isinstance(prompt, dict) or len(prompt) > NODES_MAX:
            return None
        nodes = [
            make_node(str(key), value["class_type"], value.get("inputs"))
            for key, value in prompt.items()
            if isinstance(value, dict) and isinstance(value.get("class_type"), str)
        ]
        return cls(nodes) if nodes else None

    def link_at(self, node: GraphNode, name: str) -> NodeLink | None:
        """The link at this input, when it leads to a node that is there."""
        return self.as_link(node.inputs.get(name))

    def as_link(self, value: object) -> NodeLink | None:
        """The link that an input value is, or None when it is a plain value."""
        if (
            isinstance(value, list | tuple)
            and len(value) == 2
            and isinstance(value[0], str | int)
            and isinstance(value[1], int)
            and str(value[0]) in self.nodes
        ):
            return NodeLink(str(value[0]), value[1])
        return None

    def iter_links(self, node: GraphNode) -> Iterator[tuple[str, NodeLink]]:
        """Every linked input of a node."""
        for name, value in node.inputs.items():
            if (link := self.as_link(value)) is not None:
                yield name, link

    def iter_upstream(self, starts: Iterable[str], *, skip_inputs: frozenset[str] = frozenset()) -> Iterator[GraphNode]:
        """The nodes behind these ones, nearest first, each once; inputs named in `unless` are not followed."""
        queue = list(dict.fromkeys(starts))
        seen = set(queue)
        for place in queue:
            if len(seen) > UPSTREAM_MAX:
                return
            node = self.nodes[place]
            for name, link in self.iter_links(node):
                if name not in skip_inputs and link.source not in seen:
                    seen.add(link.source)
                    queue.append(link.source)
                    yield self.nodes[link.source]


def make_node(node_id: str, kind: str, inputs: object) -> GraphNode:
    """A node; inputs that are no object count as none."""
    return GraphNode(node_id, kind, inputs if isinstance(inputs, dict) else {}, kind.lower())


class TraceBudget:
    """How many steps one trace may take; a graph of diamonds has more paths than any picture needs."""

    def __init__(self, steps: int = 20_000, depth: int = 150) -> None:
        self.steps_left = steps
        self.depth_max = depth

    def take_step(self, depth: int) -> bool:
        """Take one step; False when the budget or the depth is used up."""
        self.steps_left -= 1
        return self.steps_left >= 0 and depth <= self.depth_max
