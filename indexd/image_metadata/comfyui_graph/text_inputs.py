"""The text that an input of a node has, through primitives, joins and switches."""

from __future__ import annotations

from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, TraceBudget

TEXT_INPUTS = (
    "populated_text",
    "text",
    "prompt",
    "user_prompt",
    "t5xxl",
    "text_g",
    "clip_g",
    "text_l",
    "clip_l",
    "mt5xl",
    "bert",
    "value",
    "Value",
    "string",
    "String",
    "Text",
    "string_field",
    "result",
    "wildcard_text",
    "tags",
    "caption",
    "source",
    "any_01",
    "any",
    "anything",
    "input",
    "text_0",
)
"""Inputs that hold a text, the ones that hold the final text first."""

_DELIMITER_INPUTS = ("delimiter", "separator", "divider")
_NON_TEXT_INPUTS = frozenset(
    (*_DELIMITER_INPUTS, "action", "tidy_tags", "clean_whitespace", "mode", "linebreak_addition")
)
_TEXT_INPUT_SET = frozenset(TEXT_INPUTS)


class TextResolver:
    """Texts of one graph, within one budget."""

    def __init__(self, graph: NodeGraph, budget: TraceBudget) -> None:
        self._graph = graph
        self._budget = budget

    def text_of_input(self, node: GraphNode, name: str, role: str, depth: int = 0) -> str | None:
        """The text at one input; `role` is "positive" or "negative". None where there is none."""
        return self._text_of_value(node.inputs.get(name), role, depth)

    def text_of_node(self, node: GraphNode, role: str, depth: int = 0) -> str | None:
        """The text that a node gives out."""
        if not self._budget.take_step(depth):
            return None
        if node.kind_contains("concat", "join", "combine", "append", "merge") or node.kind_lower.startswith(
            "stringfunction"
        ):
            return self._join_inputs(node, role, depth)
        if node.kind_contains("switch", "select") and (chosen := self._selected_input(node)) is not None:
            return self.text_of_input(node, chosen, role, depth + 1)
        named = (f"text_{role}", f"{role}_prompt", f"{role}_text", role)
        for name in (*named, *TEXT_INPUTS):
            found = self.text_of_input(node, name, role, depth + 1)
            if found:
                return found
        for name, _ in self._graph.iter_links(node):
            if name not in _TEXT_INPUT_SET and (found := self.text_of_input(node, name, role, depth + 1)):
                return found
        texts = [value for value in node.inputs.values() if isinstance(value, str)]
        if len(texts) == 1 and (node.kind_contains("text", "string", "prompt", "primitive", "note")):
            return texts[0]
        return "" if any(node.inputs.get(name) == "" for name in (*named, *TEXT_INPUTS)) else None

    def _text_of_value(self, value: Any, role: str, depth: int) -> str | None:
        if isinstance(value, str):
            return value[: coerce.TEXT_MAX]
        link = self._graph.as_link(value)
        if link is None:
            return None
        return self.text_of_node(self._graph.nodes[link.source], role, depth)

    def _join_inputs(self, node: GraphNode, role: str, depth: int) -> str | None:
        delimiter = next(
            (node.inputs[name] for name in _DELIMITER_INPUTS if isinstance(node.inputs.get(name), str)), None
        )
        if delimiter is None:
            delimiter = ", " if node.kind_lower.startswith("stringfunction") else ""
        parts = [
            found
            for name, value in node.inputs.items()
            if name not in _NON_TEXT_INPUTS and (found := self._text_of_value(value, role, depth + 1))
        ]
        text = delimiter.replace("\\n", "\n").join(parts)
        return text[: coerce.TEXT_MAX] if parts else None

    def _selected_input(self, node: GraphNode) -> str | None:
        """The input that a switch lets through, by its number or its yes/no; None where that cannot be told."""
        named = [name for name, value in node.inputs.items() if self._graph.as_link(value) is not None]
        for name, value in node.inputs.items():
            if isinstance(value, bool):
                wanted = ("on_true", "true", "yes", "if_true") if value else ("on_false", "false", "no", "if_false")
                return next((choice for choice in wanted if choice in node.inputs), None)
            if isinstance(value, int) and name.lower() in ("select", "input", "index", "selected", "switch"):
                numbered = [choice for choice in named if choice.rstrip("0123456789") != choice]
                return next((choice for choice in numbered if choice.endswith(str(value))), None)
        return None
