"""The filter language: `model:pony steps:20..40 -tag:bad "lora:my lora"` into conditions on the index.

A word is `key:value`, `key:low..high` (either end may be left open), `key:>6` (`>=`, `<`, `<=`) or `has:key`; a leading
`-` turns it round. Quotes
hold blanks, around the word or around the value. A word without a key goes on with the value before it, so that
`lora:my lora` needs no quotes where the shell has already eaten them. Words are AND-ed.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from indexd.errors import UsageError
from indexd.search.query.filter_values import (
    FilterValueError,
    canonical_integer,
    canonical_number,
    canonical_seed,
    canonical_yes_no,
    parse_date_range,
    parse_size,
)
from indexd.store.records import Filter

RangeEnds = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class FilterKey:
    """What a key takes: `check` makes one end of a range (or a single value) canonical; None = free text."""

    expected: str
    canonicalize: Callable[[str], str] | None = None
    allows_range: bool = False


FILTER_KEYS = {
    "model": FilterKey("name, * as wildcard"),
    "lora": FilterKey("name, * as wildcard"),
    "embedding": FilterKey("name, * as wildcard"),
    "control": FilterKey("name of a ControlNet or of its preprocessor, * as wildcard"),
    "vae": FilterKey("name, * as wildcard"),
    "refiner": FilterKey("name, * as wildcard"),
    "upscaler": FilterKey("name, * as wildcard"),
    "detailer": FilterKey("name of a detector, * as wildcard"),
    "resource": FilterKey("Civitai's version number, urn:air:... or a name, * as wildcard"),
    "sampler": FilterKey("name, * as wildcard"),
    "schedule": FilterKey("name, * as wildcard"),
    "generator": FilterKey("name, * as wildcard"),
    "job": FilterKey("name or number, * as wildcard"),
    "tag": FilterKey("name, * as wildcard; style finds style/anime too"),
    "character": FilterKey("name or number, * as wildcard; 2.. or 1..3 for the number of characters in the image"),
    "auto": FilterKey('what an index stage states: "blue eyes", caption=*fox*, "blue eyes">0.5'),
    "note": FilterKey("part of a note, * as wildcard"),
    "path": FilterKey("path, * as wildcard"),
    "prompt": FilterKey("words"),
    "negative": FilterKey("words"),
    "raw_prompt": FilterKey("words"),
    "seed": FilterKey("123 or 1..99", canonical_seed, allows_range=True),
    "steps": FilterKey("30 or 20..40", canonical_integer, allows_range=True),
    "cfg": FilterKey("7 or 5..7.5", canonical_number, allows_range=True),
    "denoise": FilterKey("0.5 or 0.3..0.6", canonical_number, allows_range=True),
    "guidance": FilterKey("3.5 or 2..4", canonical_number, allows_range=True),
    "clip_skip": FilterKey("2 or 1..2", canonical_integer, allows_range=True),
    "width": FilterKey("1024 or 512..", canonical_integer, allows_range=True),
    "height": FilterKey("1024 or 512..", canonical_integer, allows_range=True),
    "rating": FilterKey("4 or 3..5", canonical_integer, allows_range=True),
    "size": FilterKey("1024x768"),
    "date": FilterKey("2026, 2026-01, 2026-01-31 or a range of them"),
    "faces": FilterKey("2 or 2..", canonical_integer, allows_range=True),
    "region": FilterKey("kind of region (face, hand, …), * as wildcard"),
    "clip_score": FilterKey("0.25.., >0.25 or 0.2..0.3", canonical_number, allows_range=True),
    "aesthetic": FilterKey("6.., >6 or 5..7", canonical_number, allows_range=True),
    "sharpness": FilterKey("100.., >100 or 50..500", canonical_number, allows_range=True),
    "missing": FilterKey("yes or no", canonical_yes_no),
    "has": FilterKey("a key of this list"),
}
# A character may be named `5..7`; nobody has done it yet.
_COUNT_RANGE = re.compile(r"\d*\.\.\d*")
_ATTRIBUTE = re.compile(r"(?:([A-Za-z_][A-Za-z0-9_]*)=)?(.*?)(?:\s*(>=?|<=?)\s*([^<>=]*))?", re.DOTALL)
_KEYS_WITHOUT_HAS = frozenset({"has", "missing", "size", "path", "width", "height"})


@dataclass(frozen=True, slots=True)
class FilterToken:
    """One word of the language as it was written: `position` counts characters from 1."""

    text: str
    position: int
    key: str
    value: str
    negate: bool


def parse_filters(texts: Iterable[str]) -> list[Filter]:
    """The conditions of all texts together. Raises UsageError with the position and what to write instead."""
    filters: list[Filter] = []
    for text in texts:
        for word in _tokenize(text):
            try:
                filters.extend(_filters_of_token(word))
            except FilterValueError as problem:
                raise UsageError(
                    f"filter {word.text!r} at character {word.position}: {problem}; {word.key}: takes {FILTER_KEYS[word.key].expected}"
                ) from None
    return filters


def _filters_of_token(token: FilterToken) -> list[Filter]:
    key, value, negate = token.key, token.value, token.negate
    if not value:
        raise FilterValueError("the value is missing")
    if key == "has":
        return [Filter(_parse_has_key(value), "has", negate=negate)]
    if key == "size":
        width, height = parse_size(value)
        # Two conditions cannot be negated as one: NOT (w AND h) is not (NOT w AND NOT h).
        if negate:
            raise FilterValueError("size cannot be excluded; exclude -width: or -height: instead")
        return [Filter("width", "=", width), Filter("height", "=", height)]
    if key == "date":
        low, high = parse_date_range(value)
        return [Filter(key, "..", low=low, high=high, negate=negate)]
    if key == "character" and _COUNT_RANGE.fullmatch(value):
        ends = _parse_range(value, canonical_integer)
        return [Filter(key, "..", low=ends[0], high=ends[1], negate=negate)]
    if key == "auto":
        return [_attribute_filter(value, negate)]
    known = FILTER_KEYS[key]
    if known.allows_range and value[0] in "<>":
        low, high = _parse_comparison(value, known.canonicalize)
        return [Filter(key, "..", low=low, high=high, negate=negate)]
    if known.allows_range and ".." in value:
        ends = _parse_range(value, known.canonicalize)
        return [Filter(key, "..", low=ends[0], high=ends[1], negate=negate)]
    return [Filter(key, "=", known.canonicalize(value) if known.canonicalize else value, negate=negate)]


def _attribute_filter(text: str, negate: bool) -> Filter:
    """`[key=]value[>score]` as a filter whose value is `key=value`, the key empty for any."""
    match = _ATTRIBUTE.fullmatch(text)
    key, value, sign, number = match.groups() if match else (None, "", None, None)
    if not value:
        raise FilterValueError("the value is missing")
    wanted = f"{key or ''}={value}"
    if not sign:
        return Filter("auto", "=", wanted, negate=negate)
    low, high = _parse_comparison(f"{sign}{number}", canonical_number)
    return Filter("auto", "..", wanted, low, high, negate)


def _parse_range(value: str, canonicalize: Callable[[str], str] | None) -> RangeEnds:
    low, _, high = value.partition("..")
    if not low and not high:
        raise FilterValueError("a range needs at least one end")
    first, last = (canonicalize(end) if end and canonicalize else (end or None) for end in (low, high))
    if first is not None and last is not None and Decimal(first) > Decimal(last):
        raise FilterValueError(f"the range runs backwards, from {first} down to {last}")
    return first, last


def _parse_comparison(value: str, canonicalize: Callable[[str], str] | None) -> RangeEnds:
    """The range that `>6`, `>=6`, `<6` or `<=6` means; without `=` it begins at the next number."""
    sign, rest = value[0], value[1:]
    strict = not rest.startswith("=")
    text = rest.removeprefix("=").strip()
    if not text:
        raise FilterValueError("a number is missing")
    end = canonicalize(text) if canonicalize else text
    if strict and canonicalize is canonical_number:
        end = repr(math.nextafter(float(end), math.inf if sign == ">" else -math.inf))
    elif strict:
        end = str(int(end) + (1 if sign == ">" else -1))
        if end == "-1":
            raise FilterValueError("nothing is below 0")
    return (end, None) if sign == ">" else (None, end)


def _parse_has_key(name: str) -> str:
    key = name.lower()
    stated = sorted(FILTER_KEYS.keys() - _KEYS_WITHOUT_HAS)
    if key not in stated:
        raise FilterValueError(f"{name!r} is nothing that can be stated{_suggestion(key, stated)}")
    return key


# A piece is a quoted run (with \" inside) or a run without blanks and quotes; pieces that touch form one word.
_PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
_KEY_VALUE = re.compile(r"(-?)([A-Za-z_]+):(.*)", re.DOTALL)


def _tokenize(text: str) -> Iterator[FilterToken]:
    open_word: FilterToken | None = None
    for raw, start in _split_quoted(text):
        position = start + 1
        match = _KEY_VALUE.fullmatch(raw)
        if match is None:
            if open_word is None:
                raise UsageError(
                    f"filter {raw!r} at character {position}: a filter is key:value; keys are {', '.join(FILTER_KEYS)}"
                    " (for words use --text or --prompt)"
                )
            value = f"{open_word.value} {raw}".strip()
            open_word = FilterToken(
                text[open_word.position - 1 :], open_word.position, open_word.key, value, open_word.negate
            )
            continue
        if open_word is not None:
            yield open_word
        sign, key, value = match.groups()
        if key.lower() not in FILTER_KEYS:
            raise UsageError(
                f"filter {raw!r} at character {position}: there is no key {key!r}{_suggestion(key.lower(), FILTER_KEYS)}"
                f" (keys: {', '.join(FILTER_KEYS)})"
            )
        open_word = FilterToken(raw, position, key.lower(), value.strip(), bool(sign))
    if open_word is not None:
        yield open_word


def _split_quoted(text: str) -> Iterator[tuple[str, int]]:
    """Words with their quotes taken off, and where each starts."""
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        start, parts = place, []
        while place < len(text) and (match := _PIECE.match(text, place)):
            quoted, bare = match.groups()
            parts.append(bare if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted))
            place = match.end()
        if place < len(text) and text[place] == '"':
            raise UsageError(f"filter {text!r}: the quote at character {place + 1} is never closed")
        yield "".join(parts), start


def _suggestion(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
