"""Parsed templates and lists of values -> the tree of combinations.

Variables have dynamic scope: a late value is read again at each use, with the variables that are set there. An early variable that
decides which list is drawn from (`__colors/${t}__`) makes one branch for each of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from types import MappingProxyType

from indexd.templates.errors import SourcePlace, TemplateError, TemplateSource, nearest_name
from indexd.templates.parser import has_syntax, parse_template
from indexd.templates.random_order import RandomNumbers
from indexd.templates.slots import MAIN_PART, Slot, SlotOption, select_options
from indexd.templates.space import (
    MAX_TEXT_CHARACTERS,
    Alternatives,
    Concatenation,
    CyclicNumbers,
    CyclicOptions,
    DependentChoice,
    EarlyValue,
    EarlyValueUse,
    Expansion,
    FixedText,
    LabelledOption,
    NamedChoice,
    Node,
    Picks,
    RandomDraw,
    TextTooLong,
    TooManyCombinations,
    WeightedNode,
)
from indexd.templates.syntax import (
    Assignment,
    NumberRange,
    ParsedTemplate,
    Placeholder,
    PlainText,
    Sampling,
    TemplatePart,
    VariableUse,
    VariantOption,
    Variants,
    WildcardUse,
    Wrap,
)
from indexd.templates.wildcards import AmbiguousWildcard, WildcardLibrary, WildcardValue

MAX_DEPTH = 60
MAX_STEPS = 100_000
MAX_VALUES = 1_000_000
MAX_BRANCHES = 1000
COPIES_SEPARATOR = ", "

Parts = Sequence[TemplatePart]


@dataclass(frozen=True, slots=True)
class VariantNode:
    """An option of a slot, with its weight as it was written."""

    node: Node
    weight: Fraction


@dataclass(slots=True)
class _SlotUse:
    """The uses of one slot: its selector, and the number of the early value of each part that is used."""

    slot: Slot
    selector: str | None
    source: TemplateSource
    at: int
    values: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Variable:
    """`fixed` or `slot` where the value is decided already; `scope` = where its parts were written (None = where it is used)."""

    name: str
    parts: Parts
    source: TemplateSource
    slot: int | None = None
    fixed: str | None = None
    scope: _Scope | None = None


@dataclass(frozen=True, eq=False)
class _Scope:
    variables: Mapping[str, _Variable] = field(default_factory=dict)

    def with_variable(self, variable: _Variable) -> _Scope:
        return _Scope({**self.variables, variable.name: variable})


class _DecidesLists(Exception):
    """The value of an early variable is needed to know what follows."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.slot = slot


class TemplateCompiler:
    """Compiles templates against one library, for one way of sampling."""

    def __init__(
        self,
        library: WildcardLibrary,
        sampling: Sampling,
        slots: Mapping[str, Slot] = MappingProxyType({}),
        seed: int = 0,
    ) -> None:
        """`seed` is that of selectors that take some options of a slot at random."""
        self._library = library
        self._sampling = sampling
        self._slots = slots
        self._seed = seed
        self._slot_uses: dict[str, _SlotUse] = {}
        self._in_slot = False
        self._chain: list[tuple[TemplateSource, int]] = []
        self._active: list[tuple[str, str]] = []
        self._steps = self._values = 0
        self._value_count = 0
        self._names_hidden = 0
        self._cache: dict[tuple[str, _Scope, Sampling, bool], Sequence[VariantNode]] = {}

    def compile(self, templates: Sequence[ParsedTemplate], separator: str) -> Node:
        """One node for all texts, in their order, with `separator` between them. They share variables. Raises TemplateError."""
        pieces: list[tuple[TemplateSource, TemplatePart]] = []
        for index, template in enumerate(templates):
            if index:
                pieces.append((template.source, PlainText(separator)))
            pieces += [(template.source, part) for part in template.parts]
        first = templates[0].source
        try:
            body = self._sequence(pieces, _Scope(), self._sampling)
            return _series([*self._slot_choices(), body])
        except _DecidesLists:
            raise TemplateError("the value of a slot must not decide between lists", [first.place(0)]) from None
        except TooManyCombinations:
            raise TemplateError("the template has more than 10^1200 combinations", [first.place(0)]) from None
        except TextTooLong:
            text = f"the text has more than {MAX_TEXT_CHARACTERS} characters"
            raise TemplateError(text, [first.place(0)]) from None

    def _new_value(self) -> int:
        self._value_count += 1
        return self._value_count

    def _slot_choices(self) -> list[Node]:
        """A node for each slot that the body uses, which chooses an option and keeps its parts; slower loops first."""
        weighted: list[tuple[int, Node]] = []
        for use in self._slot_uses.values():
            with self._at(use.source, use.at):
                try:
                    selection = select_options(use.slot, use.selector, self._seed)
                except LookupError as error:
                    raise self._error(str(error.args[0])) from None
                is_drawn = selection.loop_weight is None
                sampling: Sampling = "random" if is_drawn else self._sampling
                options = [VariantNode(self._slot_option(use, one, sampling), one.weight) for one in selection.options]
                node = self._choose([one for one in options if one.weight], None, sampling)
                weighted.append(
                    (selection.loop_weight or 0, _apply_sampling(node, sampling, self._sampling) if is_drawn else node)
                )
        return [node for _, node in sorted(weighted, key=lambda pair: pair[0])]

    def _slot_option(self, use: _SlotUse, option: SlotOption, sampling: Sampling) -> Node:
        self._in_slot = True
        try:
            values = [
                EarlyValue(number, self._value_node(WildcardValue(source), _Scope(), sampling))
                for part, number in use.values.items()
                for source in [option.parts.get(part, TemplateSource(use.slot.name, ""))]
            ]
        finally:
            self._in_slot = False
        return LabelledOption(use.slot.name, option.label, _series(values))

    def _sequence(
        self, pieces: Sequence[tuple[TemplateSource, TemplatePart]], scope: _Scope, sampling: Sampling
    ) -> Node:
        assignments = [(source, part) for source, part in pieces if isinstance(part, Assignment)]
        others = [(source, part) for source, part in pieces if not isinstance(part, Assignment)]
        return self._assigned(assignments, others, scope, frozenset(scope.variables), sampling)

    def _assigned(
        self,
        assignments: Sequence[tuple[TemplateSource, Assignment]],
        body: Sequence[tuple[TemplateSource, TemplatePart]],
        scope: _Scope,
        outer: frozenset[str],
        sampling: Sampling,
    ) -> Node:
        """The body with these assignments done first. `outer` are names set before the sequence."""
        for index, (source, part) in enumerate(assignments):
            if part.only_if_unset and part.name in scope.variables:
                continue
            if not part.is_early:
                scope = scope.with_variable(_Variable(part.name, part.value, source))
                continue
            with self._at(source, part.at):
                node = self._unnamed_parts(part.value, source, scope, sampling)
            slot = self._new_value()
            named = EarlyValue(slot, NamedChoice(part.name, node, hides_inner=True) if _has_choice(node) else node)
            rest = assignments[index + 1 :]
            try:
                variable = _Variable(part.name, part.value, source, slot=slot)
                return _series([named, self._assigned(rest, body, scope.with_variable(variable), outer, sampling)])
            except _DecidesLists as needed:
                if needed.slot != slot:
                    raise
            with self._at(source, part.at):
                node = self._unnamed_parts(part.value, source, scope, _counted(sampling))
                texts = self._branch_texts(node)
            named = EarlyValue(slot, NamedChoice(part.name, node, hides_inner=True))
            branches = [
                self._assigned(
                    rest,
                    body,
                    scope.with_variable(_Variable(part.name, part.value, source, slot=slot, fixed=text)),
                    outer,
                    sampling,
                )
                for text in texts
            ]
            return DependentChoice(named, branches)
        return _series([self._part(part, source, scope, sampling) for source, part in body])

    def _parts(self, parts: Parts, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        return self._sequence([(source, part) for part in parts], scope, sampling)

    def _part(self, part: TemplatePart, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise self._error(f"the template and its lists have more than {MAX_STEPS} parts")
        match part:
            case PlainText():
                return FixedText(part.text)
            case Variants():
                with self._at(source, part.at):
                    return self._variants(part, source, scope, sampling)
            case NumberRange():
                options = [VariantNode(FixedText(value), Fraction(1)) for value in part.values]
                return self._named(str(part.number), self._choose(options, part.sampling, sampling))
            case WildcardUse():
                with self._at(source, part.at):
                    return self._wildcard(part, source, scope, sampling)
            case VariableUse():
                with self._at(source, part.at):
                    return self._variable(part, source, scope, sampling)
            case Wrap():
                parts = (*part.before, *part.inner, *part.after)
                return self._parts(parts, source, scope, sampling)
            case Placeholder():
                with self._at(source, part.at):
                    return self._placeholder(part, source, scope, sampling)
            case Assignment():
                raise AssertionError("assignments are taken out of the sequence before")

    def _variants(self, part: Variants, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        inner = _inner_sampling(part.sampling, sampling)
        if part.bounds is None:
            options = self._options(part.options, source, scope, inner)
            return self._named(str(part.number), self._choose(options, part.sampling, sampling))
        # The places of a pick are one slot: what stands in them is counted, also where the slot is cyclic.
        inside, name = _counted(inner), str(part.number)
        only = part.options[0].parts
        if len(part.options) == 1 and len(only) == 1 and isinstance(only[0], WildcardUse) and only[0].copies == 1:
            with self._at(source, only[0].at):
                name, options = self._wildcard_options(only[0], source, scope, inside)
        else:
            options = self._options(part.options, source, scope, inside)
        return self._named(name, _apply_sampling(self._picks(part, options), inner, sampling))

    def _options(
        self, options: Sequence[VariantOption], source: TemplateSource, scope: _Scope, sampling: Sampling
    ) -> list[VariantNode]:
        nodes = []
        for option in options:
            if not option.weight:
                continue
            first = option.parts[0] if len(option.parts) == 1 else None
            copies = 1
            if isinstance(first, WildcardUse):
                copies = first.copies
                with self._at(source, first.at):
                    node = self._one_wildcard(first, source, scope, sampling)
            else:
                node = self._parts(option.parts, source, scope, sampling)
            nodes += [VariantNode(node, option.weight)] * copies
        if not nodes:
            raise self._error("every option has weight 0")
        return nodes

    def _choose(self, options: Sequence[VariantNode], wanted: Sampling | None, around: Sampling) -> Node:
        inner = _inner_sampling(wanted, around)
        if inner == "cyclic":  # equal options stay: other cyclic lists are in step with them
            return CyclicOptions([option.node for option in options]) if len(options) > 1 else options[0].node
        merged = _merge_equal(options)
        node = Alternatives(_whole_weights(merged)) if len(merged) > 1 else merged[0].node
        return _apply_sampling(node, inner, around)

    def _picks(self, part: Variants, options: Sequence[VariantNode]) -> Node:
        assert part.bounds is not None
        merged = _whole_weights(_merge_equal(options))
        blanks = [one for one in merged if isinstance(one.node, FixedText) and not one.node.fixed]
        others = [one for one in merged if not isinstance(one.node, FixedText) or one.node.fixed]
        low, high = part.bounds
        if high is None:
            high = max(low, len(merged))
        return Picks(others, range(low, high + 1), part.separator, sum(one.weight for one in blanks))

    def _wildcard(self, part: WildcardUse, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        copies = [self._one_wildcard(part, source, scope, sampling) for _ in range(part.copies)]
        nodes: list[Node] = []
        for node in copies:
            nodes += [FixedText(COPIES_SEPARATOR), node] if nodes else [node]
        return _series(nodes)

    def _one_wildcard(self, part: WildcardUse, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        def of_path(path: str) -> Node:
            inner = _inner_sampling(part.sampling, sampling)
            options = self._list_options(path, part, source, scope, inner)
            return self._named(path, self._choose(options, part.sampling, sampling))

        return self._by_path(part, source, scope, of_path)

    def _by_path(
        self, part: WildcardUse, source: TemplateSource, scope: _Scope, of_path: Callable[[str], Node]
    ) -> Node:
        head, paths = self._path_texts(part, source, scope)
        bodies = {path: of_path(path) for path in dict.fromkeys(paths)}
        return bodies[paths[0]] if head is None else DependentChoice(head, [bodies[path] for path in paths])

    def _wildcard_options(
        self, part: WildcardUse, source: TemplateSource, scope: _Scope, sampling: Sampling
    ) -> tuple[str, list[VariantNode]]:
        """The name of the choice, and the values of a wildcard as options of a pick."""
        _, paths = self._path_texts(part, source, scope)
        found: list[VariantNode] = []
        for path in dict.fromkeys(paths):
            found += self._list_options(path, part, source, scope, sampling)
        return " or ".join(dict.fromkeys(paths)), found

    def _path_texts(self, part: WildcardUse, source: TemplateSource, scope: _Scope) -> tuple[Node | None, list[str]]:
        """The texts that the path can have, and the node that chooses among them (None = there is one)."""
        if len(part.path) == 1 and isinstance(part.path[0], PlainText):
            return None, [part.path[0].text]
        node = self._unnamed_parts(part.path, source, scope, "product")
        texts = self._branch_texts(node)
        return (None, texts) if len(texts) == 1 else (node, texts)

    def _branch_texts(self, node: Node) -> list[str]:
        """Every text of a node that decides what follows."""
        if node.count > MAX_BRANCHES:
            raise self._error(f"{node.count} values decide between lists; at most {MAX_BRANCHES} can")
        texts = []
        for number in range(node.count):
            out = Expansion(number, RandomNumbers(number))
            try:
                node.emit(out, number, 1)
            except KeyError as missing:
                raise _DecidesLists(missing.args[0]) from None
            texts.append("".join(out.pieces))
        if not node.is_closed:
            raise self._error("a value that decides between lists must not be drawn with ~ or @; remove the sign")
        return texts

    def _list_options(
        self, path: str, part: WildcardUse, source: TemplateSource, scope: _Scope, sampling: Sampling
    ) -> Sequence[VariantNode]:
        for name, value in part.arguments:
            scope = scope.with_variable(_Variable(name, value, source, scope=scope))
        key = (path, scope, sampling, self._names_hidden > 0)
        if not part.arguments and key in self._cache:
            return self._cache[key]
        options: list[VariantNode] = []
        for name in self._find_lists(path):
            with self._entered("wildcard", name):
                self._values += len(self._library.values(name))
                if self._values > MAX_VALUES:
                    raise self._error(f"the lists of the template have more than {MAX_VALUES} values")
                options += [
                    VariantNode(self._value_node(value, scope, sampling), value.weight)
                    for value in self._library.values(name)
                    if value.weight
                ]
        if not options:
            raise self._error(f"the wildcard {path!r} has no values")
        self._cache[key] = options
        return options

    def _value_node(self, value: WildcardValue, scope: _Scope, sampling: Sampling) -> Node:
        if not has_syntax(value.source.text):
            return FixedText(value.source.text)
        try:
            parsed = parse_template(value.source)
        except TemplateError as error:
            raise TemplateError(error.message, [*error.places, *self._places()]) from None
        return self._unnamed_parts(parsed.parts, parsed.source, scope, sampling)

    def _find_lists(self, path: str) -> list[str]:
        try:
            names = self._library.find(path)
        except AmbiguousWildcard as error:
            raise self._error(f"{path!r} fits several wildcards: {error}; write the name as it is") from None
        if names:
            return names
        if ".." in path.replace("\\", "/").split("/"):
            raise self._error("`..` is not used in names of wildcards")
        hint = nearest_name(path, self._library.names)
        folder = "" if self._library.names else "; the folder of wildcards is empty"
        text = "" if hint or folder else r"; write \_\_ for two underscores"
        raise self._error(f"there is no wildcard {path!r}{hint}{folder}{text}")

    def _variable(self, part: VariableUse, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        variable = scope.variables.get(part.name)
        if variable is None:
            if part.default is None:
                hint = nearest_name(part.name, scope.variables)
                raise self._error(f"the variable {part.name!r} has no value; write ${{{part.name}:default}}{hint}")
            return self._parts(part.default, source, scope, sampling)
        if variable.fixed is not None:
            return FixedText(variable.fixed)
        if variable.slot is not None:
            return EarlyValueUse(variable.slot)
        with self._entered("variable", part.name):
            inner = self._parts(variable.parts, variable.source, variable.scope or scope, sampling)
        return NamedChoice(part.name, inner, hides_inner=True) if _has_choice(inner) else inner

    def _placeholder(self, part: Placeholder, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        slot = self._slots.get(part.name)
        if slot is not None:
            return self._slot_use(slot, part, source)
        hint = nearest_name(part.name, self._slots)
        if part.selector is not None or (hint and part.part is None):
            raise self._error(f"there is no slot {part.name!r}{hint}")
        if part.part is None:
            return FixedText(part.fallback)
        try:
            name = self._library.name_in_file(part.name, part.part)
        except LookupError as error:
            raise self._error(str(error.args[0])) from None
        use = WildcardUse((PlainText(name),), None, (), 1, part.at)
        return self._one_wildcard(use, source, scope, sampling)

    def _slot_use(self, slot: Slot, part: Placeholder, source: TemplateSource) -> Node:
        if self._in_slot:
            raise self._error(f"the value of a slot must not use the slot {slot.name!r}")
        use = self._slot_uses.setdefault(slot.name, _SlotUse(slot, part.selector, source, part.at))
        if part.selector is not None and use.selector != part.selector:
            if use.selector is not None:
                raise self._error(
                    f"the slot {slot.name!r} has two selectors, [{use.selector}] and [{part.selector}]; keep one"
                )
            use.selector, use.source, use.at = part.selector, source, part.at
        name = part.part or MAIN_PART
        if part.part is not None and name not in slot.part_names:
            hint = nearest_name(name, slot.part_names)
            raise self._error(f"no option of the slot {slot.name!r} has the part {name!r}{hint}")
        if name not in use.values:
            use.values[name] = self._new_value()
        return EarlyValueUse(use.values[name])

    def _named(self, name: str, node: Node) -> Node:
        is_number = name.isdigit()
        return node if (is_number and self._names_hidden) or not _has_choice(node) else NamedChoice(name, node)

    def _unnamed_parts(self, parts: Parts, source: TemplateSource, scope: _Scope, sampling: Sampling) -> Node:
        """Like `_parts`; variants are no choices of their own, because a person knows no name for them."""
        self._names_hidden += 1
        try:
            return self._parts(parts, source, scope, sampling)
        finally:
            self._names_hidden -= 1

    @contextmanager
    def _at(self, source: TemplateSource, at: int) -> Iterator[None]:
        if len(self._chain) > MAX_DEPTH:
            raise self._error(f"templates are nested more than {MAX_DEPTH} deep")
        self._chain.append((source, at))
        try:
            yield
        except TooManyCombinations:
            raise self._error("the template has more than 10^1200 combinations") from None
        except TextTooLong:
            raise self._error(f"the text has more than {MAX_TEXT_CHARACTERS} characters") from None
        finally:
            self._chain.pop()

    @contextmanager
    def _entered(self, kind: str, name: str) -> Iterator[None]:
        if (kind, name) in self._active:
            begin = self._active.index((kind, name))
            loop = " -> ".join([*(one for _, one in self._active[begin:]), name])
            raise self._error(f"the {kind} {name!r} uses itself: {loop}")
        self._active.append((kind, name))
        try:
            yield
        finally:
            self._active.pop()

    def _error(self, message: str) -> TemplateError:
        return TemplateError(message, self._places())

    def _places(self) -> list[SourcePlace]:
        return list(dict.fromkeys(source.place(at) for source, at in reversed(self._chain)))


def _inner_sampling(wanted: Sampling | None, around: Sampling) -> Sampling:
    """How the options of a slot are taken: `!` counts in a product only."""
    return around if wanted is None or wanted == "product" else wanted


def _counted(sampling: Sampling) -> Sampling:
    return "product" if sampling == "cyclic" else sampling


def _apply_sampling(node: Node, inner: Sampling, around: Sampling) -> Node:
    if inner == "cyclic":
        return CyclicNumbers(node)
    return RandomDraw(node) if inner == "random" and around != "random" else node


def _has_choice(node: Node) -> bool:
    return node.count > 1 or not node.is_closed


def _series(nodes: Sequence[Node]) -> Node:
    """The nodes as one; neighbouring texts become one."""
    joined: list[Node] = []
    for node in nodes:
        for part in node.nodes if isinstance(node, Concatenation) else (node,):
            before = joined[-1] if joined else None
            if not isinstance(part, FixedText) or not isinstance(before, FixedText):
                joined.append(part)
                if len(joined) > MAX_STEPS:
                    raise TextTooLong
                continue
            joined[-1] = FixedText(before.fixed + part.fixed)
            if len(before.fixed) > MAX_TEXT_CHARACTERS:
                raise TextTooLong
    return joined[0] if len(joined) == 1 else Concatenation(joined) if joined else FixedText("")


def _merge_equal(options: Sequence[VariantNode]) -> list[VariantNode]:
    """Options of the same fixed text as one, with the sum of their weights."""
    merged: dict[str | int, VariantNode] = {}
    for index, option in enumerate(options):
        key = option.node.fixed if isinstance(option.node, FixedText) else index
        before = merged.get(key)
        merged[key] = option if before is None else VariantNode(before.node, before.weight + option.weight)
    return list(merged.values())


def _whole_weights(options: Sequence[VariantNode]) -> list[WeightedNode]:
    factor = lcm(*(option.weight.denominator for option in options))
    return [WeightedNode(option.node, int(option.weight * factor)) for option in options]
