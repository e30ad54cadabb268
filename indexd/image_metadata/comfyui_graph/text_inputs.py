"""The text that an input of a node has, through primitives, joins, switches and pipes."""

from __future__ import annotations

import re
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.input_values import resolve_input
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink, TraceBudget

TEXT_INPUTS = (
    "populated_text",
    "text",
    "prompt",
    "user_prompt",
    "prompt_text",
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
_TEXT_LINK_NAME = re.compile(
    r"text|string|str\d*$|prompt|^value|^any|^input|^$|^\*$|^source|^tags|caption|^[a-z]$", re.IGNORECASE
)
_FILE_NAME = re.compile(
    r"(?:[A-Za-z]:[\\/])?[^\n,:]{1,300}\.(safetensors|ckpt|pth?|bin|gguf|sft|onnx|png|jpe?g|webp|txt|json|ya?ml)",
    re.IGNORECASE,
)
_LIST_INDEX_INPUTS = ("index", "select", "selected", "start_index", "line_index", "current_index", "idx")


_WRITES_TEXT = re.compile(
    r"ollama|(?:^|[^a-z])llm|llm(?:$|[^a-z]|prompt|chat|node|gen|text|api|party)|llava|chatgpt|gpt-?\d|openai|openrouter|gemini|claude|anthropic|groq|deepseek|qwen.*vl|florence|joy_?caption"
    r"|moondream|minicpm|interrogat|captioner|tagger|image_?(?:to|2)_?(?:text|prompt)|img2txt|prompt_?(?:gen|enhanc|expan)"
    r"|enhance_?prompt|superprompt"
)
"""Kinds of nodes whose text a model writes while the graph runs. Their own texts are questions, not the prompt."""
_OPEN_CHOICE = re.compile(r"\{[^{}]{0,2000}\|[^{}]{0,2000}\}|__[^\s_][^\n]{0,100}?__")


def _is_drawn_by_chance(node: GraphNode, text: str) -> bool:
    """Whether the node draws its output from this text: one of several lines, or a word of a wildcard."""
    if node.kind_contains("random") and len([line for line in text.split("\n") if line.strip()]) > 1:
        return True
    return node.kind_contains("random", "wildcard", "dynamicprompt") and bool(_OPEN_CHOICE.search(text))


class TextResolver:
    """Texts of one graph, within one budget. `role` is "positive" or "negative" everywhere."""

    def __init__(self, graph: NodeGraph, budget: TraceBudget) -> None:
        self._graph = graph
        self._budget = budget

    def text_of_input(self, node: GraphNode, name: str, role: str, depth: int = 0) -> str | None:
        """The text at one input; None where there is none."""
        return self._text_of_value(node.inputs.get(name), role, depth)

    def text_of_node(self, node: GraphNode, role: str, depth: int = 0, slot: int = -1) -> str | None:
        """The text that a node gives out; None where it cannot be told which one that is."""
        if not self._budget.take_step(depth) or _WRITES_TEXT.search(node.kind_lower):
            return None
        slot_name = (self._graph.output_name(node, slot) or "") if slot > 0 else ""
        role = next((side for side in ("positive", "negative") if slot_name.startswith(side[:3])), role)
        if node.kind_contains("concat", "join", "combine", "append", "merge") or node.kind_lower.startswith(
            "stringfunction"
        ):
            return self._join_inputs(node, role, depth)
        if self._picks_a_line(node):
            return self._picked_line(node, role, depth)
        if node.kind_contains("switch", "select", "ifelse", "if_else", "if else"):
            chosen = self._graph.selected_input(node)
            return self.text_of_input(node, chosen, role, depth + 1) if chosen else self._only_text(node, role, depth)
        if node.kind_contains("replace"):
            return self._replaced(node, role, depth)
        named = _role_inputs(role)
        for name in (*named, *TEXT_INPUTS):
            found = self.text_of_input(node, name, role, depth + 1)
            if found:
                return None if _is_drawn_by_chance(node, found) else found
        for link in self._following_links(node):
            if found := self.text_of_node(self._graph.nodes[link.source], role, depth + 1, link.slot):
                return found
        texts = [value for value in node.inputs.values() if isinstance(value, str)]
        if len(texts) == 1 and node.kind_contains("text", "string", "prompt", "primitive", "note"):
            return None if _is_drawn_by_chance(node, texts[0]) else _as_prose(texts[0])
        return "" if any(node.inputs.get(name) == "" for name in (*named, *TEXT_INPUTS)) else None

    def _only_text(self, node: GraphNode, role: str, depth: int) -> str | None:
        """The text of a switch whose choice cannot be told: only where all its inputs have the same one."""
        texts = {
            found for _, link in self._graph.iter_links(node) if (found := self._text_of_link(link, role, depth + 1))
        }
        return texts.pop() if len(texts) == 1 else None

    def _text_of_link(self, link: NodeLink, role: str, depth: int) -> str | None:
        return self.text_of_node(self._graph.nodes[link.source], role, depth, link.slot)

    def _replaced(self, node: GraphNode, role: str, depth: int) -> str | None:
        """A text with one part replaced; None where that takes more than plain texts."""
        names = ("string", "text", "find", "replace")
        text, find, new = (
            self.text_of_input(node, name, role, depth + 1)
            for name in (names[0 if "string" in node.inputs else 1], *names[2:])
        )
        if text is None or not find or new is None or node.kind_contains("regex"):
            return None
        replaced = text.replace(find, new)
        return replaced if self._budget.take_characters(len(replaced)) else None

    def _following_links(self, node: GraphNode) -> list[NodeLink]:
        """The links of an unknown node that may bring its text. An image or a model never does."""
        links = list(self._graph.iter_pipe_links(node))
        for name, link in self._graph.iter_links(node):
            if name in _TEXT_INPUT_SET:
                continue
            declared = self._graph.input_type(node, name)
            if declared in ("STRING", "*") or (declared is None and _TEXT_LINK_NAME.search(name)):
                links.append(link)
        return links

    def _text_of_value(self, value: Any, role: str, depth: int) -> str | None:
        if isinstance(value, str):
            return _as_prose(value)
        link = self._graph.as_link(value)
        if link is None:
            return None
        return self.text_of_node(self._graph.nodes[link.source], role, depth, link.slot)

    def _join_inputs(self, node: GraphNode, role: str, depth: int) -> str | None:
        delimiter = next(
            (node.inputs[name] for name in _DELIMITER_INPUTS if isinstance(node.inputs.get(name), str)), None
        )
        if delimiter is None:
            delimiter = ", " if node.kind_lower.startswith("stringfunction") else ""
        parts = []
        for name, value in node.inputs.items():
            if name in _NON_TEXT_INPUTS:
                continue
            found = self._text_of_value(value, role, depth + 1)
            if found is None and self._graph.as_link(value) is not None:
                return None  # a part that is written while the graph runs: the rest alone is another text
            if found:
                parts.append(found)
        if not parts or not self._budget.take_characters(sum(map(len, parts))):
            return None
        return delimiter.replace("\\n", "\n").join(parts)[: coerce.TEXT_MAX]

    def _picks_a_line(self, node: GraphNode) -> bool:
        return any(name in node.inputs for name in _LIST_INDEX_INPUTS) and node.kind_contains(
            "list", "line", "selector", "picker", "index", "wildcard"
        )

    def _picked_line(self, node: GraphNode, role: str, depth: int) -> str | None:
        """The line of a list of prompts that an index (from 0) picks; None where the index cannot be told."""
        index = next(
            (resolve_input(self._graph, node, name) for name in _LIST_INDEX_INPUTS if name in node.inputs), None
        )
        names = [name for name in node.inputs if name not in _LIST_INDEX_INPUTS]
        text = next((found for name in names if (found := self.text_of_input(node, name, role, depth + 1))), None)
        lines = [line.strip() for line in (text or "").split("\n") if line.strip()]
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(lines):
            return None
        return lines[index]


def _role_inputs(role: str) -> tuple[str, ...]:
    return (
        f"text_{role}",
        f"{role}_prompt",
        f"{role}_text",
        role,
        f"{role}_g",
        f"{role}_l",
        *(("main_prompt",) if role == "positive" else ("negative_main_prompt",)),
    )


def _as_prose(text: str) -> str | None:
    """A text of at most TEXT_MAX characters; None for the name of a file."""
    return None if _FILE_NAME.fullmatch(text.strip()[:400]) else text[: coerce.TEXT_MAX]
