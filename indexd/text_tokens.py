"""Splits texts of any language into the tokens of the full text, and finds the tokens of a query in a text.

The index stores tokens parted by spaces, so SQLite's `ascii` tokenizer only has to split them: every program that opens the
index reads the full text, and its answers do not depend on SQLite's Unicode tables.

- Texts are folded: compatibility forms as their plain ones (NFKD, then NFC; Unicode Annex #15), without letter case and without
  the accents of Latin, Greek and Cyrillic letters, Hebrew points and Arabic vowel signs.
- Scripts that write words without spaces, or glue particles to them (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese)
  become overlapping pairs of characters: a query finds any piece. A run also ends in its last character alone, and all
  other characters follow behind the text, so that one character is one token too.
- An emoji or another symbol is a token.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

TOKENS_VERSION = 1
"""Raise it when a text gets other tokens: the full text is then built anew when the index is opened."""

HIGHLIGHTED_CHARACTERS_MAX = 1 << 14
"""Matches are looked for in so many characters of a text."""

# Code points whose words are not parted by spaces.
_JOINED_SCRIPTS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf"  # Lao
    "\u1000-\u103f\u1050-\u109f"  # Burmese
    "\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\U0001b000-\U0001b16f"  # kana
    "\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul
)
_SYMBOLS = "\u00a9\u00ae\u2190-\u21ff\u2300-\u2bff\u3004\u3012\u3013\u3020\u3030\u303d\U0001f000-\U0001faff"
# Vowel signs of scripts whose words are parted by spaces: Indic, Tibetan, Philippine, Buginese, Balinese and others.
_VOWEL_SIGNS = (
    "\u06d6-\u06ed\u0711\u0730-\u074a\u07a6-\u07b0\u0816-\u082d\u0859-\u085b\u08ca-\u0963\u0971-\u0df3\u0f18-\u0f19\u0f35-\u0f3f"
    "\u0f71-\u0fbc\u135d-\u135f\u1712-\u1734\u1752\u1753\u1772\u1773\u1885\u1886\u18a9\u1920-\u193b\u1a17-\u1a1b\u1a55-\u1aff"
    "\u1b00-\u1b44\u1b80-\u1bf3\u1c24-\u1c37\u1cd0-\u1cf9\u1dc0-\u1dff\ua6f0\ua6f1\ua802-\ua82c\ua880-\ua8c5\ua8e0-\ua8ff"
    "\ua926-\ua953\ua980-\ua9c0\ua9e5\uaa29-\uaa4d\uaaeb-\uaaf6\uabe3-\uabed\U00011000-\U00011fff"
)
_PRIVATE = "\ue000-\uf8ff"
# Accents, Hebrew points, Arabic vowel signs; variation selectors; the soft hyphen and the joiner of words.
_DROPPED = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u00ad\u2060\ufe00-\ufe0f]"
)
_RUN = re.compile(
    rf"(?P<joined>[{_JOINED_SCRIPTS}]+)|(?P<symbol>[{_SYMBOLS}])"
    rf"|(?:[^\W_{_JOINED_SCRIPTS}{_SYMBOLS}]|[{_VOWEL_SIGNS}{_PRIVATE}])+"
)
_QUERY_PART = re.compile(r'"([^"]*)"(\*?)|([^\s"]+)')
# Parts the text from the characters behind it, so that no phrase reaches across. No folded text contains it as a token.
_BOUNDARY = "\u00b7"


@dataclass(frozen=True, slots=True)
class Phrase:
    """Consecutive tokens that a query asks for. With `is_prefix`, the last one may go on."""

    tokens: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    """A token and its place in the folded text."""

    text: str
    start: int
    is_joined: bool


def fold(text: str) -> str:
    """The text as it is compared: without compatibility forms, letter case and accents."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text)
    lower = plain.casefold()
    if lower != plain:
        lower = unicodedata.normalize("NFKD", lower)
    return unicodedata.normalize("NFC", _DROPPED.sub("", lower))


def indexed_tokens(text: str) -> str:
    """The tokens of a text as the full text stores them, parted by spaces."""
    if text.isascii():
        return text  # SQLite splits it alike
    tokens: list[str] = []
    singles: dict[str, None] = {}
    for run in _RUN.finditer(fold(text)):
        word = run[0]
        if run.lastgroup == "joined":
            tokens += _pairs(word)
            tokens.append(word[-1])
            singles |= dict.fromkeys(word[:-1])
        else:
            tokens.append(word)
    behind = singles.keys() - set(tokens)
    return " ".join([*tokens, _BOUNDARY, *(one for one in singles if one in behind)] if behind else tokens)


def parse_query(query: str) -> list[Phrase]:
    """The phrases that a text must hold: words, and `"phrases"`; a `*` behind one matches its beginnings."""
    phrases = []
    for quoted, star, bare in _QUERY_PART.findall(query):
        runs = list(_RUN.finditer(fold(quoted or bare.rstrip("*"))))
        tokens: list[str] = []
        for number, run in enumerate(runs, 1):
            if run.lastgroup != "joined":
                tokens.append(run[0])
                continue
            tokens += _pairs(run[0])
            # The text may go on where the query ends, so the end of its last run is no token of its own.
            if number < len(runs) or len(run[0]) == 1:
                tokens.append(run[0][-1])
        if not runs:
            continue
        is_joined = runs[-1].lastgroup == "joined"
        asked = bool(star) or (bare.endswith("*") and not quoted)
        # One character alone is a token of every text that holds it; behind another token it begins a pair.
        is_prefix = len(runs[-1][0]) == 1 and len(runs) > 1 if is_joined else asked and runs[-1].lastgroup is None
        phrases.append(Phrase(tuple(tokens), is_prefix))
    return phrases


def find_phrases(text: str, phrases: Iterable[Phrase]) -> list[tuple[int, int]]:
    """Where the phrases stand in the text: start and end of each place in characters, in order and without overlap."""
    text = text[:HIGHLIGHTED_CHARACTERS_MAX]
    folded, starts, ends = _fold_with_offsets(text)
    tokens = list(_tokens(folded))
    by_text: dict[str, list[int]] = {}
    for at, token in enumerate(tokens):
        by_text.setdefault(token.text, []).append(at)
    places = sorted(place for phrase in phrases for place in _places(tokens, by_text, phrase))
    found: list[tuple[int, int]] = []
    for start, end in ((starts[first], ends[last - 1]) for first, last in places):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _pairs(run: str) -> list[str]:
    return [one + other for one, other in pairwise(run)]


def _tokens(folded: str) -> Iterator[_Token]:
    for run in _RUN.finditer(folded):
        if run.lastgroup != "joined":
            yield _Token(run[0], run.start(), False)
            continue
        for at, pair in enumerate((*_pairs(run[0]), run[0][-1]), run.start()):
            yield _Token(pair, at, True)


def _places(
    tokens: Sequence[_Token], by_text: Mapping[str, Sequence[int]], phrase: Phrase
) -> Iterator[tuple[int, int]]:
    """Start and end in the folded text of each place where the phrase stands."""
    *before, last = phrase.tokens
    # One character is found at the start of each of its pairs, so only longer tokens can be looked up.
    is_sought = not before and (phrase.is_prefix or len(last) == 1)
    for at in range(len(tokens)) if is_sought else by_text.get(phrase.tokens[0], ()):
        if at + len(before) >= len(tokens) or any(tokens[at + k].text != token for k, token in enumerate(before)):
            continue
        end = tokens[at + len(before)]
        begins = phrase.is_prefix or (end.is_joined and len(last) == 1)
        if end.text == last or (begins and end.text.startswith(last)):
            yield tokens[at].start, end.start + len(last)


def _fold_with_offsets(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """The folded text, and for each of its characters where in the text that begins and ends."""
    if text.isascii():
        return fold(text), range(len(text)), range(1, len(text) + 1)
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    bounds = [at for at, character in enumerate(text) if at == 0 or not may_compose(character)]
    for start, end in pairwise((*bounds, len(text))):
        parts.append(_fold_piece(text[start:end]))
        starts += [start] * len(parts[-1])
        ends += [end] * len(parts[-1])
    return "".join(parts), starts, ends


@lru_cache(maxsize=1 << 13)
def _fold_piece(piece: str) -> str:
    return fold(piece)


@lru_cache(maxsize=1 << 13)
def may_compose(character: str) -> bool:
    """Whether a character may fuse with the one before it: marks, and vowels and finals of Hangul."""
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff"
