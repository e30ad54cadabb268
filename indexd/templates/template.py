"""Texts with template syntax -> their combinations, counted, ordered and written out one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice, product
from types import MappingProxyType

from indexd.templates.compiler import TemplateCompiler
from indexd.templates.errors import TemplateError, TemplateSource
from indexd.templates.parser import parse_template
from indexd.templates.random_order import KeyedPermutation, RandomNumbers
from indexd.templates.slots import Slot
from indexd.templates.space import MAX_TEXT_CHARACTERS, Expansion, TextTooLong, text_tables
from indexd.templates.syntax import ParsedTemplate, Sampling
from indexd.templates.wildcards import WildcardLibrary

_SEPARATOR = "\0"
_DRAWS_PER_NEW = 20
"""A round ends its weighted draws after this many in a row without a new combination."""


@dataclass(frozen=True, slots=True)
class Combination:
    """One combination: its texts by name, what was chosen by the name of the choice, and its number among all of them."""

    texts: Mapping[str, str]
    number: int
    choices: Mapping[str, str] = field(default_factory=dict)


class Template:
    """The combinations of some texts, which share their variables, in one order.

    product: the last slot changes fastest; after the last combination it begins again. random: without repeats until
    each came once; by weight where the options of a slot have different weights. cyclic: all slots advance together.
    """

    def __init__(
        self,
        texts: Mapping[str, TemplateSource],
        library: WildcardLibrary,
        order: Sampling = "product",
        seed: int = 0,
        slots: Mapping[str, Slot] = MappingProxyType({}),
    ) -> None:
        """`texts` must not be empty, nor contain NUL. Raises TemplateError."""
        self._names = tuple(texts)
        self._order = order
        self._seed = seed
        parsed: list[ParsedTemplate] = []
        for source in texts.values():
            if _SEPARATOR in source.text:
                raise TemplateError("the text contains NUL; remove it", [source.place(source.text.index(_SEPARATOR))])
            parsed.append(parse_template(source, 1 + sum(one.variant_count for one in parsed)))
        self._first = parsed[0].source
        self._root = TemplateCompiler(library, order, slots, seed).compile(parsed, _SEPARATOR)

    @property
    def count(self) -> int:
        """The number of combinations: those of the product, those that random draws choose among, or the turns of a cycle."""
        return self._root.cycle_length if self._order == "cyclic" else self._root.count

    def at(self, number: int, item: int | None = None) -> Combination:
        """The combination with this number. `item` is its place in the order; slots with ~ and @ depend on that."""
        out = self._expand(number, number if item is None else item)
        texts = "".join(out.pieces).split(_SEPARATOR)
        return Combination(dict(zip(self._names, texts, strict=True)), number, out.named_choices())

    def combinations(self, start: int = 0) -> Iterator[Combination]:
        """All combinations in order, without end."""
        return (self.at(number, item) for item, number in enumerate(self._numbers(start), start))

    def texts(self, start: int = 0) -> Iterator[Sequence[str]]:
        """Only the texts of `combinations`, in the order of the names; fast, because most templates become tables."""
        tables = text_tables(self._root)
        if tables is None:
            return (tuple(one.texts.values()) for one in self.combinations(start))
        joined = self._table_texts(tables, start)
        return ((text,) for text in joined) if len(self._names) == 1 else (text.split(_SEPARATOR) for text in joined)

    def _table_texts(self, tables: list[list[str]], start: int) -> Iterator[str]:
        if self._order == "product" and start == 0:
            while True:
                yield from map("".join, product(*tables))
        sizes = [len(table) for table in reversed(tables)]
        columns = list(zip(reversed(tables), sizes, strict=True))
        total = self._root.count
        for number in self._numbers(start):
            text, rest = "", number % total
            for table, size in columns:
                rest, index = divmod(rest, size)
                text = table[index] + text
            yield text

    def _numbers(self, start: int) -> Iterator[int]:
        """The numbers of the combinations in this order, from place `start`, without end."""
        if self._order != "random":
            return count(start)
        if self._root.is_uniform:
            return self._permuted(start)
        return islice(self._drawn(), start, None)

    def _permuted(self, start: int) -> Iterator[int]:
        total = self._root.count
        for round_number in count(start // total):
            yield from KeyedPermutation(total, self._seed, round_number).numbers(start % total)
            start = 0

    def _drawn(self) -> Iterator[int]:
        """Weighted draws without repeats. What is too rare to be drawn comes last, in the order of a permutation."""
        total = self._root.count
        for round_number in count():
            numbers = RandomNumbers(self._seed, round_number)
            seen: set[int] = set()
            misses = 0
            while len(seen) < total and misses < _DRAWS_PER_NEW:
                drawn = self._root.draw(numbers)
                if drawn in seen:
                    misses += 1
                    continue
                misses = 0
                seen.add(drawn)
                yield drawn
            if len(seen) < total:
                left = KeyedPermutation(total, self._seed, round_number).numbers()
                yield from (number for number in left if number not in seen)

    def _expand(self, number: int, item: int) -> Expansion:
        out = Expansion(item, RandomNumbers(self._seed, item), in_step=self._order == "random")
        try:
            self._root.emit(out, number, 1)
        except TextTooLong:
            text = f"the text of a combination has more than {MAX_TEXT_CHARACTERS} characters"
            raise TemplateError(text, [self._first.place(0)]) from None
        return out


def compile_text(
    text: str, library: WildcardLibrary | None = None, order: Sampling = "product", seed: int = 0
) -> Template:
    """The template of a single text, under the name `text`. Raises TemplateError."""
    library = library or WildcardLibrary.from_texts({})
    return Template({"text": TemplateSource("text", text)}, library, order, seed)


_PART = re.compile(r"[^\S\n]*,[^\S\n]*")


def normalize_prompt(text: str) -> str:
    """The text without what empty options leave behind: doubled or leading commas, blanks around them, and empty lines but one.

    The rules are those of Template System V2: each line is stripped, a line of commas only disappears, and `a ,b` becomes `a, b`.
    """
    lines: list[str] = []
    for line in text.splitlines():
        parts = [part for part in _PART.split(line.strip()) if part]
        if parts or (not line.strip() and lines and lines[-1]):
            lines.append(", ".join(parts))
    return "\n".join(lines).strip()
