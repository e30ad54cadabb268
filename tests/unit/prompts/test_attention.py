"""Brackets of weight: the cases that A1111 documents, those it does not, and hostile ones."""

from __future__ import annotations

import random
import time

import pytest

from indexd.prompts.emphasis import ChunkBreak, WeightedText, largest_weight, parse_weights


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("((twice))", [("twice", 1.21)]),
        ("less [of] it", [("less ", 1), ("of", 1 / 1.1), (" it", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("a [unbalanced", [("a ", 1), ("unbalanced", 1 / 1.1)]),
        ("closing) only]", [("closing) only]", 1)]),
        (r"\(literal\]", [("(literal]", 1)]),
        (r"a \\ b", [("a \\ b", 1)]),
        (r"lone \ stroke", [("lone  stroke", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("(word:1.25)", [("word", 1.25)]),
        ("(word: .5 )", [("word", 0.5)]),
        ("(word:-0.5)", [("word", -0.5)]),
        ("(word:+2)", [("word", 2)]),
        ("(word:0)", [("word", 0)]),
        ("(a (b:2) c:3)", [("a ", 3), ("b", 6), (" c", 3)]),
        ("(word:1.2.3)", [("word:1.2.3", 1.1)]),
        ("(word:high)", [("word:high", 1.1)]),
        ("16:9", [("16:9", 1)]),
        ("a:1.5) b", [("a:1.5) b", 1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.1 / 1.1), (" c", 1 / 1.1)]),
        ("()[](())", []),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
    ],
)
def test_weights(text: str, pieces: list[tuple[str, float]]) -> None:
    found = [(piece.text, piece.weight) for piece in parse_weights(text) if isinstance(piece, WeightedText)]
    assert [words for words, _ in found] == [words for words, _ in pieces]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in pieces])
    assert not any(isinstance(piece, ChunkBreak) for piece in parse_weights(text))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a BREAK b", ["a", None, "b"]),
        ("a\nBREAK\nb", ["a", None, "b"]),
        ("BREAK", [None]),
        ("a BREAK BREAK b", ["a", None, None, "b"]),
        ("BREAKFAST break aBREAK", ["BREAKFAST break aBREAK"]),
        ("(a BREAK b:1.2)", ["a", None, "b"]),
    ],
)
def test_breaks(text: str, pieces: list[str | None]) -> None:
    assert [piece.text if isinstance(piece, WeightedText) else None for piece in parse_weights(text)] == pieces


def test_the_largest_weight_has_no_sign() -> None:
    assert largest_weight("(a:3) (b:-7)") == 7
    assert largest_weight("(a:0.5)") == 0.5
    assert largest_weight("") == 1
    assert largest_weight("(" * 20_000 + "a") == float("inf")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        ")" * 10_000,
        "(" * 5_000 + "a" + ")" * 5_000,
        "(a" * 10_000,
        "[a" * 5_000 + "]" * 5_000,
        "(a:" * 6_000,
        ":" * 20_000,
        "\\" * 20_000,
        "(a:" + "1" * 19_000,
        "BREAK " * 3_000,
        "(" * 9_000 + ":1" * 5_000 + ")",
    ],
)
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.perf_counter()
    parse_weights(text)
    assert time.perf_counter() - began < 2


def test_nothing_of_a_text_is_lost() -> None:
    """Whatever the brackets: the pieces say the text without its brackets, weights and escapes."""
    chance = random.Random(5)
    for _ in range(300):
        words = [chance.choice(["cat", " ", "dog", ",", "(", ")", "[", "]"]) for _ in range(chance.randrange(30))]
        said = "".join(piece.text for piece in parse_weights("".join(words)) if isinstance(piece, WeightedText))
        assert [sign for sign in said if sign not in "()[]"] == [s for s in "".join(words) if s not in "()[]"]
