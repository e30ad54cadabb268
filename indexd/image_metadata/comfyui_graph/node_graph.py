"""A graph of nodes with named inputs, as ComfyUI's API format has it: what the tracer works on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NODES_MAX = 5_000
UPSTREAM_MAX = 2_000
GRAPH_STEPS_MAX = 200_000
"""Links followed in one graph by all questions together; beyond it a graph answers that nothing is linked."""

_PIPE_INPUT = re.compile(
    r"(?:^|_)(?:pipe|pipeline|ctx|context|bus|tuple|data|script)(?:$|_(?!option|length|overlap))|pipe$"
)
_RGTHREE_CONTEXT_SLOTS = [
    "context",
    "model",
    "clip",
    "vae",
    "positive",
    "negative",
    "latent",
    "images",
    "seed",
    "steps",
    "step_refiner",
    "cfg",
    "ckpt_name",
    "sampler_name",
    "scheduler",
    "clip_width",
    "clip_height",
    "text_pos_g",
    "text_pos_l",
    "text_neg_g",
    "text_neg_l",
    "mask",
    "control_net",
]
_TYPE_WORDS = frozenset(
    [
        "*",
        "int",
        "float",
        "string",
        "str",
        "number",
        "boolean",
        "bool",
        "any",
        "value",
        "output",
        "result",
        "out",
        "text",
        "combo",
    ]
)


class NodeLink(NamedTuple):
    """The output `slot` of the node `source`."""

    source: str
    slot: int


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What a workflow declares of a node: (name, type) of each output slot, and the type of each input."""

    outputs: tuple[tuple[str, str], ...] = ()
    input_types: Mapping[str, str] = field(default_factory=dict)


UNKNOWN_SHAPE = NodeShape()


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node: `kind` is its class, `inputs` holds values and links by input name.

    `widgets` are the values of a workflow node in their order, also those whose names are not known.
    """

    id: str
    kind: str
    inputs: Mapping[str, Any]
    kind_lower: str = ""
    widgets: tuple[Any, ...] = ()
    shape: NodeShape = UNKNOWN_SHAPE

    def kind_contains(self, *words: str) -> bool:
        """Whether the name of the class holds one of these words (lower case)."""
        return any(word in self.kind_lower for word in words)


@dataclass
class NodeGraph:
    """Nodes by id. Ids are texts of any form: "3", "30:6" inside a subgraph, "resource-stack".

    `load_shapes` returns the shapes that a workflow in the same file declares for nodes of an API prompt.
    """

    nodes: dict[str, GraphNode]
    load_shapes: Callable[[], Mapping[str, NodeShape]] = dict
    steps_left: int = GRAPH_STEPS_MAX
    _shapes: Mapping[str, NodeShape] | None = field(default=None, repr=False)
    _links: dict[str, list[tuple[str, NodeLink]]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_nodes(cls, nodes: Iterable[GraphNode]) -> NodeGraph:
        """The graph of these nodes."""
        return cls({node.id: node for node in nodes})

    @classmethod
    def from_api_prompt(
        cls, prompt: object, load_shapes: Callable[[], Mapping[str, NodeShape]] = dict
    ) -> NodeGraph | None:
        """The graph of an API prompt (`{id: {"class_type", "inputs"}}`), or None when it is none.

        Keys that are no nodes (Civitai's `extra` and `extraMetadata`) are passed over.
        """
        if not isinstance(prompt, dict) or len(prompt) > NODES_MAX:
            return None
        nodes = {
            str(key): make_node(str(key), value["class_type"], value.get("inputs"))
            for key, value in prompt.items()
            if isinstance(value, dict) and isinstance(value.get("class_type"), str)
        }
        return cls(nodes, load_shapes) if nodes else None

    def take_step(self) -> bool:
        """Use one step of the budget; False when it is used up."""
        self.steps_left -= 1
        return self.steps_left >= 0

    def link_at(self, node: GraphNode, name: str) -> NodeLink | None:
        """The link at this input, when it leads to a node that is there."""
        return self.as_link(node.inputs.get(name))

    def as_link(self, value: object) -> NodeLink | None:
        """The link that an input value is, or None when it is a plain value."""
        if (
            isinstance(value, list)
            and len(value) == 2
            and isinstance(value[0], str | int)
            and isinstance(value[1], int)
            and str(value[0]) in self.nodes
        ):
            return NodeLink(str(value[0]), value[1])
        return None

    def iter_links(self, node: GraphNode) -> Iterator[tuple[str, NodeLink]]:
        """Every linked input of a node."""
        links = self._links.get(node.id)
        if links is None:
            links = self._links[node.id] = [
                (name, link) for name, value in node.inputs.items() if (link := self.as_link(value)) is not None
            ]
        return iter(links)

    def iter_pipe_links(self, node: GraphNode) -> Iterator[NodeLink]:
        """The links that carry many values at once: pipes, contexts, buses."""
        for name, link in self.iter_links(node):
            if _PIPE_INPUT.search(name.lower()):
                yield link

    def iter_upstream(self, starts: Iterable[str], *, skip_inputs: frozenset[str] = frozenset()) -> Iterator[GraphNode]:
        """The nodes behind these ones, nearest first, each once; inputs named in `skip_inputs` are not followed."""
        queue = list(dict.fromkeys(starts))
        seen = set(queue)
        for place in queue:
            if len(seen) > UPSTREAM_MAX:
                return
            node = self.nodes[place]
            for name, link in self.iter_links(node):
                if not self.take_step():
                    return
                if name not in skip_inputs and link.source not in seen:
                    seen.add(link.source)
                    queue.append(link.source)
                    yield self.nodes[link.source]

    def shape_of(self, node: GraphNode) -> NodeShape:
        """What the workflow declares of a node."""
        if node.shape is not UNKNOWN_SHAPE:
            return node.shape
        if self._shapes is None:
            self._shapes = self.load_shapes()
        return self._shapes.get(node.id, UNKNOWN_SHAPE)

    def output_name(self, node: GraphNode, slot: int) -> str | None:
        """The lower-case name of an output slot; None where it is unknown or only names a type."""
        if "context" in node.kind_lower and "rgthree" in node.kind_lower:
            return _RGTHREE_CONTEXT_SLOTS[slot] if 0 < slot < len(_RGTHREE_CONTEXT_SLOTS) else None
        outputs = self.shape_of(node).outputs
        name = outputs[slot][0].lower().strip() if 0 <= slot < len(outputs) else ""
        return None if not name or name in _TYPE_WORDS else name

    def input_type(self, node: GraphNode, name: str) -> str | None:
        """The declared type of an input (`CONDITIONING`, `STRING`, ...); None where it is unknown."""
        return self.shape_of(node).input_types.get(name)

    def selected_input(self, node: GraphNode) -> str | None:
        """The input that a switch lets through, by its number or its yes/no; None where that cannot be told."""
        linked = [name for name, _ in self.iter_links(node)]
        if len(linked) == 1 or (linked and node.kind_contains("any switch", "anyswitch")):
            return linked[0]
        for name, value in node.inputs.items():
            if isinstance(value, bool):
                wanted = ("on_true", "true", "yes", "if_true") if value else ("on_false", "false", "no", "if_false")
                return next((choice for choice in wanted if choice in node.inputs), None)
            if isinstance(value, int) and name.lower() in ("select", "input", "index", "selected", "switch"):
                numbered = [choice for choice in node.inputs if choice.rstrip("0123456789") != choice]
                return next((choice for choice in numbered if choice.endswith(str(value))), None)
        return None


def make_node(node_id: str, kind: str, inputs: object) -> GraphNode:
    """A node; inputs that are no object count as none."""
    return GraphNode(node_id, kind, inputs if isinstance(inputs, dict) else {}, kind.lower())


class TraceBudget:
    """How much one trace may use: steps, depth, and characters of joined texts. Diamonds have more paths than nodes."""

    def __init__(self, steps: int = 20_000, depth: int = 150, characters: int = 8 << 20) -> None:
        self.steps_left = steps
        self.depth_max = depth
        self.characters_left = characters

    def take_step(self, depth: int) -> bool:
        """Take one step; False when the budget or the depth is used up."""
        self.steps_left -= 1
        return self.steps_left >= 0 and depth <= self.depth_max

    def take_characters(self, count: int) -> bool:
        """Take so many characters of joined text; False when they are used up."""
        self.characters_left -= count
        return self.characters_left >= 0
