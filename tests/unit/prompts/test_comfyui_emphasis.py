"""ComfyUI's weights, read by its rules."""

from __future__ import annotations

import pytest

from indexd.prompts.comfyui_emphasis import parse_comfyui_weights

READ: dict[str, list[tuple[str, float]]] = {
    "a cat": [("a cat", 1.0)],
    "a (red) cat": [("a ", 1.0), ("red", 1.1), (" cat", 1.0)],
    "(red:1.3) cat": [("red", 1.3), (" cat", 1.0)],
    "((a (b:0.5) c))": [("a ", 1.1 * 1.1), ("b", 0.5), (" c", 1.1 * 1.1)],
    "(a:b:1.2)": [("a:b", 1.2)],
    "(a:b)": [("a:b", 1.1)],
    "(a:nan)": [("a:nan", 1.1)],
    "[a] BREAK b AND c": [("[a] BREAK b AND c", 1.0)],
    r"\(a\) (b)": [("(a) ", 1.0), ("b", 1.1)],
    "a (b": [("a ", 1.0), ("(b", 1.0)],
    "a) (b) c": [("a) (b) c", 1.0)],
    "()": [],
    "": [],
    "a embedding:glow, (embedding:mist:1.2)": [("a glow, ", 1.0), ("mist", 1.2)],
}


@pytest.mark.parametrize("prompt", READ)
def test_a_prompt_is_read_as_comfyui_reads_it(prompt: str) -> None:
    found = parse_comfyui_weights(prompt)
    assert [piece.text for piece in found] == [text for text, _ in READ[prompt]]
    assert [piece.weight for piece in found] == pytest.approx([weight for _, weight in READ[prompt]])


def test_thousands_of_brackets_cost_no_recursion() -> None:
    deep = "(" * 20_000 + "a" + ")" * 20_000
    assert [piece.text.strip("()") for piece in parse_comfyui_weights(deep)] == ["a"]
