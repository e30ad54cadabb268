"""Texts of any language are split into tokens, and the tokens of a query are found again in a text."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexd.text_tokens import find_phrases, fold, indexed_tokens, may_compose, parse_query

# Letters of all treated scripts, marks, half-width and full-width forms, jamo, emoji and punctuation.
TEXTS = st.text(
    st.sampled_from(
        'ab1_ ,.ÀéßİıΣςﬁ①㎏ﾊﾞﾟかがんアー・、。漢字々女孩白髪ㄱㅏ각가각กำแมวสีँहि😀👩‍🚀❤️🇯🇵Ａ１　\u0301\u3099\u00ad·\u200b"*'
    )
    | st.characters(codec="utf-8"),
    max_size=30,
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A Cat_1, (dog:1.2)", "A Cat_1, (dog:1.2)"),  # ASCII is split by SQLite
        ("Café ÉCOLE Straße", "cafe ecole strasse"),
        ("ＡＢ１２　ﬁn", "ab12 fin"),
        ("白い猫", "白い い猫 猫 · 白 い"),
        ("猫", "猫"),
        ("4K画質、x", "4k 画質 質 x · 画"),
        ("ﾊﾞﾅﾅ", "バナ ナナ ナ · バ"),
        ("각", "각"),
        ("👩‍🚀❤️👍🏽", "👩 🚀 ❤ 👍 🏽"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_a_text_has_these_tokens(text: str, tokens: str) -> None:
    assert indexed_tokens(text) == tokens


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("a red Fox, foxes", "fox", ["Fox"]),
        ("a red Fox, foxes", "fox*", ["Fox", "fox"]),
        ("the red fox and the fox", '"red fox"', ["red fox"]),
        ("Crème BRÛLÉE", "brulee", ["BRÛLÉE"]),
        ("un ﬁnal", "final", ["ﬁnal"]),
        ("白い猫と白い犬", "白い", ["白い", "白い"]),
        ("白い猫と猫", "猫", ["猫", "猫"]),
        ("一个白发女孩站着", "白发女孩", ["白发女孩"]),
        ("ﾊﾞﾅﾅ cake", "バナナ cake", ["ﾊﾞﾅﾅ", "cake"]),
        ("ซากุระ", "กุระ", ["กุระ"]),
        ("go 👩‍🚀 go", "🚀", ["🚀"]),
        ("한국의 고양이", "고양이", ["고양이"]),
        (unicodedata.normalize("NFD", "한국의 고양이"), "고양이", [unicodedata.normalize("NFD", "고양이")]),
        ("a cat", "dog", []),
    ],
)
def test_what_a_query_matches_is_found_in_the_text(text: str, query: str, marked: list[str]) -> None:
    assert [text[start:end] for start, end in find_phrases(text, parse_query(query))] == marked


@given(TEXTS)
def test_any_text_is_found_by_itself_and_marked_as_a_whole(text: str) -> None:
    phrases = parse_query(f'"{text.replace(chr(34), " ")}"')
    places = find_phrases(text, phrases)
    assert bool(places) == bool(phrases)
    if phrases:
        tokens = indexed_tokens(text).split(" ") if not text.isascii() else None
        assert tokens is None or set(phrases[0].tokens) <= set(tokens) or phrases[0].is_prefix


@given(TEXTS, TEXTS)
def test_places_are_in_order_and_inside_the_text(text: str, query: str) -> None:
    last = 0
    for start, end in find_phrases(text, parse_query(query)):
        assert last <= start < end <= len(text)
        last = end


def test_only_characters_that_may_compose_change_the_one_before_them() -> None:
    """Offsets are found character by character, so no other character may fuse with its neighbour (NFC)."""
    second = {
        chr(int(parts[1], 16))
        for code in range(sys.maxunicode + 1)
        if len(parts := unicodedata.decomposition(chr(code)).split()) == 2 and not parts[0].startswith("<")
    }
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cs", "Cn"):
            continue
        first = unicodedata.normalize("NFKD", character)[0]
        if unicodedata.combining(first) or first in second:
            assert may_compose(character), f"U+{code:04X}"


@given(TEXTS)
def test_folding_is_stable_and_equal_for_all_forms_of_a_text(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    for form in ("NFC", "NFD", "NFKC"):
        assert fold(unicodedata.normalize(form, text)) == fold(text)
