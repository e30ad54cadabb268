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
from indexd.search.values import ValueProblem, date_range, number, presence, seed, size, whole
from indexd.store.records import Filter

Ends = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Key:
    """What a key takes: `check` makes one end of a range (or a single value) canonical; None = free text."""

    form: str
    check: Callable[[str], str] | None = None
    ranged: bool = False


KEYS = {
    "model": Key("name, * as wildcard"),
    "lora": Key("name, * as wildcard"),
    "embedding": Key("name, * as wildcard"),
    "control": Key("name of a ControlNet or of its preprocessor, * as wildcard"),
    "vae": Key("name, * as wildcard"),
    "refiner": Key("name, * as wildcard"),
    "upscaler": Key("name, * as wildcard"),
    "detailer": Key("name of a detector, * as wildcard"),
    "resource": Key("Civitai's version number, urn:air:... or a name, * as wildcard"),
    "sampler": Key("name, * as wildcard"),
    "schedule": Key("name, * as wildcard"),
    "generator": Key("name, * as wildcard"),
    "job": Key("name or number, * as wildcard"),
    "tag": Key("name, * as wildcard; style finds style/anime too"),
    "character": Key("name or number, * as wildcard; 2.. or 1..3 for how many there are in the picture"),
    "note": Key("part of a note, * as wildcard"),
    "path": Key("path, * as wildcard"),
    "prompt": Key("words"),
    "negative": Key("words"),
    "raw_prompt": Key("words"),
    "seed": Key("123 or 1..99", seed, ranged=True),
    "steps": Key("30 or 20..40", whole, ranged=True),
    "cfg": Key("7 or 5..7.5", number, ranged=True),
    "denoise": Key("0.5 or 0.3..0.6", number, ranged=True),
    "guidance": Key("3.5 or 2..4", number, ranged=True),
    "clip_skip": Key("2 or 1..2", whole, ranged=True),
    "width": Key("1024 or 512..", whole, ranged=True),
    "height": Key("1024 or 512..", whole, ranged=True),
    "rating": Key("4 or 3..5", whole, ranged=True),
    "size": Key("1024x768"),
    "date": Key("2026, 2026-01, 2026-01-31 or a range of them"),
    "faces": Key("2 or 2..", whole, ranged=True),
    "region": Key("kind of region (face, hand, …), * as wildcard"),
    "clip_score": Key("0.25.., >0.25 or 0.2..0.3", number, ranged=True),
    "aesthetic": Key("6.., >6 or 5..7", number, ranged=True),
    "sharpness": Key("100.., >100 or 50..500", number, ranged=True),
    "missing": Key("yes or no", presence),
    "has": Key("a key of this list"),
}
# A character may be named `5..7`; nobody has done it yet.
_COUNTED = re.compile(r"\d*\.\.\d*")
_WITHOUT_HAS = frozenset({"has", "missing", "size", "path", "width", "height"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the language as it was written: `position` counts characters from 1."""

    text: str
    position: int
    key: str
    value: str
    negate: bool


def parse(texts: Iterable[str]) -> list[Filter]:
    """The conditions of all texts together. Raises UsageError with the position and what to write instead."""
    filters: list[Filter] = []
    for text in texts:
        for word in _words(text):
            try:
                filters.extend(_filters(word))
            except ValueProblem as problem:
                raise UsageError(
                    f"filter {word.text!r} at character {word.position}: {problem}; {word.key}: takes {KEYS[word.key].form}"
                ) from None
    return filters


def _filters(word: Word) -> list[Filter]:
    key, value, negate = word.key, word.value, word.negate
    if not value:
        raise ValueProblem("the value is missing")
    if key == "has":
        return [Filter(_known(value), "has", negate=negate)]
    if key == "size":
        width, height = size(value)
        # Two conditions cannot be negated as one: NOT (w AND h) is not (NOT w AND NOT h).
        if negate:
            raise ValueProblem("size cannot be excluded; exclude -width: or -height: instead")
        return [Filter("width", "=", width), Filter("height", "=", height)]
    if key == "date":
        low, high = date_range(value)
        return [Filter(key, "..", low=low, high=high, negate=negate)]
    if key == "character" and _COUNTED.fullmatch(value):
        ends = _ends(value, whole)
        return [Filter(key, "..", low=ends[0], high=ends[1], negate=negate)]
    known = KEYS[key]
    if known.ranged and value[0] in "<>":
        low, high = _compared(value, known.check)
        return [Filter(key, "..", low=low, high=high, negate=negate)]
    if known.ranged and ".." in value:
        ends = _ends(value, known.check)
        return [Filter(key, "..", low=ends[0], high=ends[1], negate=negate)]
    return [Filter(key, "=", known.check(value) if known.check else value, negate=negate)]


def _ends(value: str, check: Callable[[str], str] | None) -> Ends:
    low, _, high = value.partition("..")
    if not low and not high:
        raise ValueProblem("a range needs at least one end")
    first, last = (check(end) if end and check else (end or None) for end in (low, high))
    if first is not None and last is not None and Decimal(first) > Decimal(last):
        raise ValueProblem(f"the range runs backwards, from {first} down to {last}")
    return first, last


def _compared(value: str, check: Callable[[str], str] | None) -> Ends:
    """The range that `>6`, `>=6`, `<6` or `<=6` means; without `=` it begins at the next number."""
    sign, rest = value[0], value[1:]
    strict = not rest.startswith("=")
    text = rest.removeprefix("=").strip()
    if not text:
        raise ValueProblem("a number is missing")
    end = check(text) if check else text
    if strict and check is number:
        end = repr(math.nextafter(float(end), math.inf if sign == ">" else -math.inf))
    elif strict:
        end = str(int(end) + (1 if sign == ">" else -1))
        if end == "-1":
            raise ValueProblem("nothing is below 0")
    return (end, None) if sign == ">" else (None, end)


def _known(name: str) -> str:
    key = name.lower()
    stated = sorted(KEYS.keys() - _WITHOUT_HAS)
    if key not in stated:
        raise ValueProblem(f"{name!r} is nothing that can be stated{_suggestion(key, stated)}")
    return key


# A piece is a quoted run (with \" inside) or a run without blanks and quotes; pieces that touch form one word.
_PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
_KEYED = re.compile(r"(-?)([A-Za-z_]+):(.*)", re.DOTALL)


def _words(text: str) -> Iterator[Word]:
    open_word: Word | None = None
    for raw, start in _pieces(text):
        position = start + 1
        match = _KEYED.fullmatch(raw)
        if match is None:
            if open_word is None:
                raise UsageError(
                    f"filter {raw!r} at character {position}: a filter is key:value; keys are {', '.join(KEYS)}"
                    " (for words use --text or --prompt)"
                )
            value = f"{open_word.value} {raw}".strip()
            open_word = Word(text[open_word.position - 1 :], open_word.position, open_word.key, value, open_word.negate)
            continue
        if open_word is not None:
            yield open_word
        sign, key, value = match.groups()
        if key.lower() not in KEYS:
            raise UsageError(
                f"filter {raw!r} at character {position}: there is no key {key!r}{_suggestion(key.lower(), KEYS)}"
                f" (keys: {', '.join(KEYS)})"
            )
        open_word = Word(raw, position, key.lower(), value.strip(), bool(sign))
    if open_word is not None:
        yield open_word


def _pieces(text: str) -> Iterator[tuple[str, int]]:
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
