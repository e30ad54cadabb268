"""The text that an input of a node has, through primitives, joins and switches."""

from __future__ import annotations

from typing import Any

from indexd.images.metadata import values
from indexd.images.metadata.graph.nodes import Budget, Graph, Node

TEXT_NAMES = (
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

_JOINERS = ("delimiter", "separator", "divider")
_OPTIONS = frozenset((*_JOINERS, "action", "tidy_tags", "clean_whitespace", "mode", "linebreak_addition"))
_PREFERRED = frozenset(TEXT_NAMES)


class Strings:
    """Texts of one graph, within one budget."""

    def __init__(self, graph: Graph, budget: Budget) -> None:
        self._graph = graph
        self._budget = budget

    def of_input(self, node: Node, name: str, role: str, depth: int = 0) -> str | None:
        """The text at one input; `role` is "positive" or "negative". None where there is none."""
        return self._of_value(node.inputs.get(name), role, depth)

    def of_node(self, node: Node, role: str, depth: int = 0) -> str | None:
        """The text that a node gives out."""
        if not self._budget.spend(depth):
            return None
        if node.has("concat", "join", "combine", "append", "merge") or node.lower.startswith("stringfunction"):
            return self._joined(node, role, depth)
        if node.has("switch", "select") and (chosen := self._chosen(node)) is not None:
            return self.of_input(node, chosen, role, depth + 1)
        named = (f"text_{role}", f"{role}_prompt", f"{role}_text", role)
        for name in (*named, *TEXT_NAMES):
            found = self.of_input(node, name, role, depth + 1)
            if found:
                return found
        for name, _ in self._graph.links(node):
            if name not in _PREFERRED and (found := self.of_input(node, name, role, depth + 1)):
                return found
        texts = [value for value in node.inputs.values() if isinstance(value, str)]
        if len(texts) == 1 and (node.has("text", "string", "prompt", "primitive", "note")):
            return texts[0]
        return "" if any(node.inputs.get(name) == "" for name in (*named, *TEXT_NAMES)) else None

    def _of_value(self, value: Any, role: str, depth: int) -> str | None:
        if isinstance(value, str):
            return value[: values.TEXT_MAX]
        link = self._graph.as_link(value)
        if link is None:
            return None
        return self.of_node(self._graph.nodes[link.source], role, depth)

    def _joined(self, node: Node, role: str, depth: int) -> str | None:
        delimiter = next((node.inputs[name] for name in _JOINERS if isinstance(node.inputs.get(name), str)), None)
        if delimiter is None:
            delimiter = ", " if node.lower.startswith("stringfunction") else ""
        parts = [
            found
            for name, value in node.inputs.items()
            if name not in _OPTIONS and (found := self._of_value(value, role, depth + 1))
        ]
        text = delimiter.replace("\\n", "\n").join(parts)
        return text[: values.TEXT_MAX] if parts else None

    def _chosen(self, node: Node) -> str | None:
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
