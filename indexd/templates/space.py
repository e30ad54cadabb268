"""The combinations of a template as a tree: each node counts its combinations and writes out the one with a given number.

Numbers are mixed radix: in a series the last slot changes fastest. So a template of 10^12 combinations is counted without
enumerating it, and any combination is made alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from math import perm, prod

from indexd.templates.random_order import RandomNumbers

MAX_COUNT_BITS = 4096
MAX_TEXT_CHARACTERS = 200_000
MAX_GENERAL_PICKS = 100_000


class TooManyCombinations(Exception):
    """A count has more than `MAX_COUNT_BITS` bits."""


class TextTooLong(Exception):
    """A combination is longer than `MAX_TEXT_CHARACTERS`."""


@dataclass(slots=True)
class Expansion:
    """One combination while it is written. `item` is its place in the order; `values` are of early variables."""

    item: int
    numbers: RandomNumbers
    in_step: bool = False
    """Whether cyclic slots go by `item`; else by how often they were reached in product order."""
    pieces: list[str] = field(default_factory=list)
    choices: list[tuple[str, str]] = field(default_factory=list)
    values: dict[int, str] = field(default_factory=dict)
    length: int = 0

    def write(self, text: str) -> None:
        """Adds text. Raises TextTooLong."""
        self.pieces.append(text)
        self.length += len(text) or 1
        if self.length > MAX_TEXT_CHARACTERS:
            raise TextTooLong

    def named_choices(self) -> dict[str, str]:
        """The choices by name; the second choice of a name gets `#2`, and so on."""
        named: dict[str, str] = {}
        for name, value in self.choices:
            key, number = name, 1
            while key in named:
                number += 1
                key = f"{name}#{number}"
            named[key] = value
        return named


class Node(ABC):
    """A part of a template. `turn` of `emit` is the number of the combination times `span`, plus a remainder below `span`,
    plus full rounds: the number of combinations of everything that changes faster is `span`."""

    def __init__(self, count: int) -> None:
        if count.bit_length() > MAX_COUNT_BITS:
            raise TooManyCombinations
        self.count = count

    @abstractmethod
    def emit(self, out: Expansion, turn: int, span: int) -> None:
        """Writes the combination of `turn`."""

    def draw(self, numbers: RandomNumbers) -> int:  # noqa: ARG002 - a node without slots draws nothing
        """The number of a combination, drawn by the weights."""
        return 0

    @property
    def is_uniform(self) -> bool:
        """Whether `draw` gives each combination with the same probability."""
        return True

    @property
    def is_closed(self) -> bool:
        """Whether the text depends on the number of the combination alone."""
        return True

    @property
    def cycle_length(self) -> int:
        """After how many turns the cyclic slots have shown every option."""
        return 1

    def text(self, number: int) -> str:
        """The text of one combination of a closed node."""
        out = Expansion(number, RandomNumbers(number))
        self.emit(out, number, 1)
        return "".join(out.pieces)


class FixedText(Node):
    """Text without slots."""

    def __init__(self, text: str) -> None:
        super().__init__(1)
        self.fixed = text

    def emit(self, out: Expansion, turn: int, span: int) -> None:  # noqa: ARG002 - there is one combination
        out.write(self.fixed)


class Concatenation(Node):
    """Nodes one after the other: the product of their combinations."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__(prod(node.count for node in nodes))
        self.nodes = tuple(nodes)
        self._spans = list(accumulate((node.count for node in reversed(nodes[1:])), int.__mul__, initial=1))[::-1]

    def emit(self, out: Expansion, turn: int, span: int) -> None:
        for node, faster in zip(self.nodes, self._spans, strict=False):
            node.emit(out, turn, span * faster)

    def draw(self, numbers: RandomNumbers) -> int:
        number = 0
        for node in self.nodes:
            number = number * node.count + node.draw(numbers)
        return number

    @cached_property
    def is_uniform(self) -> bool:
        return all(node.is_uniform for node in self.nodes)

    @cached_property
    def is_closed(self) -> bool:
        return all(node.is_closed for node in self.nodes)

    @cached_property
    def cycle_length(self) -> int:
        return max((node.cycle_length for node in self.nodes), default=1)


@dataclass(frozen=True, slots=True)
class WeightedNode:
    """An option: its node, and its whole-number weight in random draws."""

    node: Node
    weight: int = 1


class Alternatives(Node):
    """One of several options: the sum of their combinations."""

    def __init__(self, options: Sequence[WeightedNode]) -> None:
        counts = [option.node.count for option in options]
        self.options = tuple(options)
        self._ends = list(accumulate(counts))
        self._weight_ends = list(accumulate(option.weight for option in options))
        super().__init__(self._ends[-1] if counts else 0)

    def emit(self, out: Expansion, turn: int, span: int) -> None:
        rounds, rest = divmod(turn, self.count * span)
        number, faster = divmod(rest, span)
        index = bisect_right(self._ends, number)
        node = self.options[index].node
        inner = number - self._ends[index] + node.count
        node.emit(out, (rounds * node.count + inner) * span + faster, span)

    def draw(self, numbers: RandomNumbers) -> int:
        index = bisect_right(self._weight_ends, numbers.below(self._weight_ends[-1]))
        node = self.options[index].node
        return self._ends[index] - node.count + node.draw(numbers)

    @cached_property
    def is_uniform(self) -> bool:
        total = self._weight_ends[-1]
        return all(one.weight * self.count == one.node.count * total and one.node.is_uniform for one in self.options)

    @cached_property
    def is_closed(self) -> bool:
        return all(option.node.is_closed for option in self.options)

    @cached_property
    def cycle_length(self) -> int:
        return max(option.node.cycle_length for option in self.options)


class Picks(Node):
    """Several different options in every order, joined: `{1-2$$a|b|c}`.

    `lengths` are the numbers of options that a draw takes. Shorter picks come first; in each length the positions of the
    options change slower than what stands in them. `blank_weight` is the weight of the option without text, 0 where there is
    none: it takes a place in a draw, and adds nothing to the text.
    """

    def __init__(self, options: Sequence[WeightedNode], lengths: range, separator: str, blank_weight: int = 0) -> None:
        self.options = tuple(options)
        self._separator = separator
        self._blank_weight = blank_weight
        available = len(options) + bool(blank_weight)
        self._low = min(lengths[0], available)
        self._high = min(lengths[-1], available)
        taken = set(range(self._low, self._high + 1))
        taken |= {length - 1 for length in taken if blank_weight and length}
        self._lengths = sorted(length for length in taken if length <= len(options))
        self._counts = [option.node.count for option in options]
        self._is_plain = all(count == 1 for count in self._counts)
        self._sums: list[int] = [1]
        if not self._is_plain:
            if len(options) * (self._lengths[-1] + 1) > MAX_GENERAL_PICKS:
                raise TooManyCombinations
            self._sums = _symmetric_sums(self._counts, self._lengths[-1])
        self._ends = list(accumulate(self._ways(length) for length in self._lengths))
        super().__init__(self._ends[-1])

    def _ways(self, length: int) -> int:
        """Combinations of this length: permutations, each with the product of the counts of its options."""
        if self._is_plain:
            return perm(len(self.options), length)
        return perm(length) * self._sums[length]

    def emit(self, out: Expansion, turn: int, span: int) -> None:
        number = turn // span % self.count
        at = bisect_right(self._ends, number)
        length = self._lengths[at]
        picked = self._unrank(number - self._ends[at] + self._ways(length), length)
        begin = len(out.pieces)
        texts = []
        for index, inner in picked:
            self.options[index].node.emit(out, inner, 1)
            texts.append("".join(out.pieces[begin:]))
            del out.pieces[begin:]
        out.write(self._separator.join(text for text in texts if text))

    def draw(self, numbers: RandomNumbers) -> int:
        length = self._low + numbers.below(self._high - self._low + 1)
        weights = [option.weight for option in self.options] + [self._blank_weight]
        picked: list[tuple[int, int]] = []
        for _ in range(length):
            ends = list(accumulate(weights))
            if not ends[-1]:
                break
            index = bisect_right(ends, numbers.below(ends[-1]))
            weights[index] = 0
            if index < len(self.options):
                picked.append((index, self.options[index].node.draw(numbers)))
        return self._rank(picked)

    def _unrank(self, number: int, length: int) -> list[tuple[int, int]]:
        """The positions and inner numbers of combination `number` of this length."""
        if self._is_plain:
            return [(position, 0) for position in _unrank_plain(number, len(self.options), length)]
        chosen: list[int] = []
        sums, factor = self._sums, 1
        for left in range(length - 1, -1, -1):
            for position, count in enumerate(self._counts):
                if position in chosen:
                    continue
                without = _sums_without(sums, count)
                block = factor * count * perm(left) * without[left]
                if number < block:
                    break
                number -= block
            chosen.append(position)
            sums, factor = without, factor * count
        picked = []
        for position in reversed(chosen):
            number, inner = divmod(number, self._counts[position])
            picked.append((position, inner))
        return picked[::-1]

    def _rank(self, picked: Sequence[tuple[int, int]]) -> int:
        """The inverse of `_unrank`, with the shorter lengths counted in."""
        length = len(picked)
        number, sums, factor = 0, self._sums, 1
        seen: list[int] = []
        for done, (index, _) in enumerate(picked):
            left = length - 1 - done
            if self._is_plain:
                smaller = index - sum(other < index for other in seen)
                number += smaller * perm(len(self.options) - 1 - done, left)
            else:
                for position in range(index):
                    if position not in seen:
                        count = self._counts[position]
                        number += factor * count * perm(left) * _sums_without(sums, count)[left]
                sums, factor = _sums_without(sums, self._counts[index]), factor * self._counts[index]
            seen.append(index)
        inner = 0
        for index, one in picked:
            inner = inner * self._counts[index] + one
        at = self._lengths.index(length)
        return self._ends[at] - self._ways(length) + number + inner

    @cached_property
    def is_uniform(self) -> bool:
        first = self.options[0] if self.options else None
        same = all(
            first is not None and one.weight == first.weight and one.node.count == first.node.count
            for one in self.options
        )
        return (
            same
            and self._low == self._high
            and not self._blank_weight
            and all(option.node.is_uniform for option in self.options)
        )

    @cached_property
    def is_closed(self) -> bool:
        return all(option.node.is_closed for option in self.options)


def _symmetric_sums(counts: Sequence[int], degree: int) -> list[int]:
    """The elementary symmetric polynomials of `counts` up to `degree`: sums of the products of k of them."""
    sums = [1] + [0] * degree
    for count in counts:
        for k in range(degree, 0, -1):
            sums[k] += count * sums[k - 1]
    return sums


def _sums_without(sums: Sequence[int], count: int) -> list[int]:
    """The symmetric sums of the same counts without one of them."""
    without = [1]
    for one in sums[1:]:
        without.append(one - count * without[-1])
    return without


def _unrank_plain(number: int, size: int, length: int) -> list[int]:
    """The permutation with this number, in lexicographic order, of `length` out of `size`."""
    chosen: list[int] = []
    for done in range(length):
        position, number = divmod(number, perm(size - 1 - done, length - 1 - done))
        for other in sorted(chosen):
            position += other <= position
        chosen.append(position)
    return chosen


class RecordingNode(Node):
    """A node with the combinations and the weights of `node`; a subclass records something of what it writes."""

    def __init__(self, node: Node) -> None:
        super().__init__(node.count)
        self._node = node

    def draw(self, numbers: RandomNumbers) -> int:
        return self._node.draw(numbers)

    @property
    def is_uniform(self) -> bool:
        return self._node.is_uniform

    @property
    def is_closed(self) -> bool:
        return self._node.is_closed

    @property
    def cycle_length(self) -> int:
        return self._node.cycle_length


class NamedChoice(RecordingNode):
    """Records what a node wrote as the choice `name`. `hides_inner` = the choices inside it are not recorded."""

    def __init__(self, name: str, node: Node, *, hides_inner: bool = False) -> None:
        super().__init__(node)
        self._name = name
        self._hides_inner = hides_inner

    def emit(self, out: Expansion, turn: int, span: int) -> None:
        begin, place = len(out.pieces), len(out.choices)
        self._node.emit(out, turn, span)
        if self._hides_inner:
            del out.choices[place:]
        out.choices.insert(place, (self._name, "".join(out.pieces[begin:])))


class LabelledOption(RecordingNode):
    """Records the option of a slot as the choice `name` with the value `label`."""

    def __init__(self, name: str, label: str, node: Node) -> None:
        super().__init__(node)
        self._choice = (name, label)

    def emit(self, out: Expansion, turn: int, span: int) -> None:
        out.choices.append(self._choice)
        self._node.emit(out, turn, span)

    @property
    def is_closed(self) -> bool:
        return False


class CyclicOptions(Node):
    """Options in turn, in step with all other cyclic slots; it adds no combinations to a product."""

    def __init__(self, options: Sequence[Node]) -> None:
        super().__init__(1)
        self._options = tuple(options)

    def emit(self, out: Expansion, turn: int, span: int) -> None:  # noqa: ARG002 - a cyclic slot changes at every turn
        rounds, index = divmod(out.item if out.in_step else turn, len(self._options))
        node = self._options[index]
        node.emit(out, rounds, 1)

    @property
    def is_closed(self) -> bool:
        return False

    @cached_property
    def cycle_length(self) -> int:
        return len(self._options) * max(max(node.cycle_length, node.count) for node in self._options)


class CyclicNumbers(Node):
    """All combinations of a node in turn, in step with the other cyclic slots."""

    def __init__(self, node: Node) -> None:
        super().__init__(1)
        self._node = node

    def emit(self, out: Expansion, turn: int, span: int) -> None:  # noqa: ARG002 - a cyclic slot changes at every turn
        self._node.emit(out, out.item if out.in_step else turn, 1)

    @property
    def is_closed(self) -> bool:
        return False

    @property
    def cycle_length(self) -> int:
        return self._node.count


class RandomDraw(Node):
    """One combination of a node, drawn anew each time; it adds no combinations to a product."""

    def __init__(self, node: Node) -> None:
        super().__init__(1)
        self._node = node

    def emit(self, out: Expansion, turn: int, span: int) -> None:  # noqa: ARG002 - a draw depends on no number
        self._node.emit(out, self._node.draw(out.numbers), 1)

    @property
    def is_closed(self) -> bool:
        return False


class EarlyValue(RecordingNode):
    """The one value of an early variable, for all its uses; writes nothing itself."""

    def __init__(self, slot: int, node: Node) -> None:
        super().__init__(node)
        self._slot = slot

    def emit(self, out: Expansion, turn: int, span: int) -> None:
        begin = len(out.pieces)
        self._node.emit(out, turn, span)
        out.values[self._slot] = "".join(out.pieces[begin:])
        del out.pieces[begin:]

    @property
    def is_closed(self) -> bool:
        return False


class EarlyValueUse(Node):
    """The value of an early variable."""

    def __init__(self, slot: int) -> None:
        super().__init__(1)
        self._slot = slot

    def emit(self, out: Expansion, turn: int, span: int) -> None:  # noqa: ARG002 - the value is chosen elsewhere
        out.write(out.values[self._slot])

    @property
    def is_closed(self) -> bool:
        return False


class DependentChoice(Node):
    """A choice that decides which node follows: `bodies[n]` belongs to combination n of `head`, which writes nothing."""

    def __init__(self, head: Node, bodies: Sequence[Node]) -> None:
        self._head = head
        self._bodies = tuple(bodies)
        self._ends = list(accumulate(node.count for node in bodies))
        super().__init__(self._ends[-1])

    def emit(self, out: Expansion, turn: int, span: int) -> None:
        rounds, rest = divmod(turn, self.count * span)
        number, faster = divmod(rest, span)
        index = bisect_right(self._ends, number)
        body = self._bodies[index]
        begin = len(out.pieces)
        self._head.emit(out, index, 1)
        del out.pieces[begin:]
        inner = number - self._ends[index] + body.count
        body.emit(out, (rounds * body.count + inner) * span + faster, span)

    def draw(self, numbers: RandomNumbers) -> int:
        index = self._head.draw(numbers)
        body = self._bodies[index]
        return self._ends[index] - body.count + body.draw(numbers)

    @cached_property
    def is_uniform(self) -> bool:
        same = all(body.count == self._bodies[0].count and body.is_uniform for body in self._bodies)
        return same and self._head.is_uniform

    @cached_property
    def is_closed(self) -> bool:
        return self._head.is_closed and all(body.is_closed for body in self._bodies)

    @cached_property
    def cycle_length(self) -> int:
        return max(self.count, *(body.cycle_length for body in self._bodies))


MAX_TABLE = 4096
MAX_SINGLE_TABLE = 200_000


def text_tables(node: Node) -> list[list[str]] | None:
    """Lists of texts whose product, in order, is every text of `node`; None where texts depend on more than the number."""
    tables: list[list[str]] = [[""]]
    for part in _concatenated_parts(node):
        if not part.is_closed or part.count > MAX_SINGLE_TABLE:
            return None
        texts = [part.text(number) for number in range(part.count)]
        if len(tables[-1]) * len(texts) <= MAX_TABLE:
            tables[-1] = [before + text for before in tables[-1] for text in texts]
        else:
            tables.append(texts)
    return tables


def _concatenated_parts(node: Node) -> Iterator[Node]:
    if isinstance(node, Concatenation):
        for inner in node.nodes:
            yield from _concatenated_parts(inner)
    else:
        yield node
