"""Parses the filter language, such as `model:pony steps:20..40 -tag:bad "lora:my lora"`, into conditions on the index.

A token is `key:value`, `key:low..high` (each end is optional), `key:>6` (also `>=`, `<`, `<=`) or `has:key`; a leading `-`
negates it. Quotes around the token or the value allow spaces. A word without a key continues the value before it, so that
`lora:my lora` also works when the shell has removed the quotes. All conditions must hold.
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
    """The values of a key. `canonicalize` converts a value or one end of a range; None = free text."""

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
    "auto": FilterKey('an attribute from an index stage: "blue eyes", caption=*fox*, "blue eyes">0.5'),
    "choice": FilterKey("choice of a template, such as Hair=bob or Hair=b*"),
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
# A character that is named like a range, such as `5..7`, can only be found by its number.
_COUNT_RANGE = re.compile(r"\d*\.\.\d*")
_ATTRIBUTE = re.compile(r"(?:([A-Za-z_][A-Za-z0-9_]*)=)?(.*?)(?:\s*(>=?|<=?)\s*([^<>=]*))?", re.DOTALL)
_KEYS_WITHOUT_HAS = frozenset({"has", "missing", "size", "path", "width", "height"})


@dataclass(frozen=True, slots=True)
class FilterToken:
    """One token with its original text; `position` counts characters from 1."""

    text: str
    position: int
    key: str
    value: str
    negate: bool


def parse_filters(texts: Iterable[str]) -> list[Filter]:
    """The conditions of all texts. Raises UsageError with the position and the expected values."""
    filters: list[Filter] = []
    for text in texts:
        for token in _tokenize(text):
            try:
                filters.extend(_filters_of_token(token))
            except FilterValueError as error:
                raise UsageError(
                    f"filter {token.text!r} at character {token.position}: {error}; {token.key}: takes {FILTER_KEYS[token.key].expected}"
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
    definition = FILTER_KEYS[key]
    if definition.allows_range and value[0] in "<>":
        low, high = _parse_comparison(value, definition.canonicalize)
        return [Filter(key, "..", low=low, high=high, negate=negate)]
    if definition.allows_range and ".." in value:
        ends = _parse_range(value, definition.canonicalize)
        return [Filter(key, "..", low=ends[0], high=ends[1], negate=negate)]
    return [Filter(key, "=", definition.canonicalize(value) if definition.canonicalize else value, negate=negate)]


def _attribute_filter(text: str, negate: bool) -> Filter:
    """Parse `[key=]value[>score]` into a filter whose value is `key=value`; an empty key matches every key."""
    match = _ATTRIBUTE.fullmatch(text)
    key, value, sign, number = match.groups() if match else (None, "", None, None)
    if not value:
        raise FilterValueError("the value is missing")
    key_value = f"{key or ''}={value}"
    if not sign:
        return Filter("auto", "=", key_value, negate=negate)
    low, high = _parse_comparison(f"{sign}{number}", canonical_number)
    return Filter("auto", "..", key_value, low, high, negate)


def _parse_range(value: str, canonicalize: Callable[[str], str] | None) -> RangeEnds:
    low, _, high = value.partition("..")
    if not low and not high:
        raise FilterValueError("a range needs at least one end")
    first, last = (canonicalize(end) if end and canonicalize else (end or None) for end in (low, high))
    if first is not None and last is not None and Decimal(first) > Decimal(last):
        raise FilterValueError(f"the range is reversed, from {first} to {last}")
    return first, last


def _parse_comparison(value: str, canonicalize: Callable[[str], str] | None) -> RangeEnds:
    """The range of `>6`, `>=6`, `<6` or `<=6`; without `=` it starts at the next representable number."""
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
    valid_keys = sorted(FILTER_KEYS.keys() - _KEYS_WITHOUT_HAS)
    if key not in valid_keys:
        raise FilterValueError(f"has: knows no key {name!r}{_suggestion(key, valid_keys)}")
    return key


# A piece is a quoted string (with \" as escape) or a run without spaces and quotes; adjacent pieces form one word.
_PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
_KEY_VALUE = re.compile(r"(-?)([A-Za-z_]+):(.*)", re.DOTALL)


def _tokenize(text: str) -> Iterator[FilterToken]:
    current: FilterToken | None = None
    for raw, start in _split_quoted(text):
        position = start + 1
        match = _KEY_VALUE.fullmatch(raw)
        if match is None:
            if current is None:
                raise UsageError(
                    f"filter {raw!r} at character {position}: a filter is key:value; keys are {', '.join(FILTER_KEYS)}"
                    " (for words use --text or --prompt)"
                )
            value = f"{current.value} {raw}".strip()
            current = FilterToken(text[current.position - 1 :], current.position, current.key, value, current.negate)
            continue
        if current is not None:
            yield current
        sign, key, value = match.groups()
        if key.lower() not in FILTER_KEYS:
            raise UsageError(
                f"filter {raw!r} at character {position}: there is no key {key!r}{_suggestion(key.lower(), FILTER_KEYS)}"
                f" (keys: {', '.join(FILTER_KEYS)})"
            )
        current = FilterToken(raw, position, key.lower(), value.strip(), bool(sign))
    if current is not None:
        yield current


def _split_quoted(text: str) -> Iterator[tuple[str, int]]:
    """The words without their quotes, and the start of each."""
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        start, parts = position, []
        while position < len(text) and (match := _PIECE.match(text, position)):
            quoted, bare = match.groups()
            parts.append(bare if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted))
            position = match.end()
        if position < len(text) and text[position] == '"':
            raise UsageError(f"filter {text!r}: the quote at character {position + 1} is not closed")
        yield "".join(parts), start


def _suggestion(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
