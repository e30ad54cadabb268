"""Parses template texts: the syntax of dynamic-prompts, with additions of the Impact Pack and number ranges.

The grammar follows docs/SYNTAX.md of dynamic-prompts 0.31 (docs/templates.md lists the differences). A sign that begins nothing
is text: `100%`, `$5`, lone underscores. A backslash before one of `{ } | $ % # _` makes it text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal
from fractions import Fraction

from indexd.templates.errors import TemplateError, TemplateSource
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

MAX_CHARACTERS = 200_000
MAX_DEPTH = 30
MAX_PARTS = 100_000
MAX_RANGE_VALUES = 10_000
MAX_RANGE_DIGITS = 9
MAX_COPIES = 100
DEFAULT_SEPARATOR = ","
SAMPLERS: dict[str, Sampling] = {"~": "random", "!": "product", "@": "cyclic"}

_NAME = r"[A-Za-z_-][A-Za-z0-9_-]*"
_SPECIAL = re.compile(r"[\\{}|$%#]|__")
_SPECIAL_IN_PATH = re.compile(r"[\\{}|$%#()\n]|__")
_SPECIAL_IN_ARGUMENT = re.compile(r"[\\{}|$%#(),\n]|__")
_ESCAPABLE = frozenset("{}|$%#_")
_HEAD = re.compile(
    r"\{\s*(?P<sampler>[~!@])?(?:\s*(?:(?P<low>\d{1,6})(?P<open>-(?P<high>\d{1,6})?)?|-(?P<most>\d{1,6}))\$\$"
    r"(?:(?P<separator>[^${}]*)\$\$)?)?"
)
_WEIGHT = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*::")
_BLANKS = re.compile(r"\s*")
_PLACEHOLDER = re.compile(r"\{\s*([A-Za-z_][\w./-]*)(?::([\w./-]+))?(?:\[([^\[\]{}|]*)\])?\s*\}")
_RANGE = re.compile(
    r"\{\s*(?P<sampler>[~!@])?\s*(?P<low>-?\d+(?:\.\d+)?)-(?P<high>-?\d+(?:\.\d+)?)"
    r"(?::(?P<step>\d+(?:\.\d+)?))?\s*\}"
)
_ASSIGNMENT = re.compile(rf"\$\{{\s*(?P<name>{_NAME})\s*(?P<unset>\?)?=(?P<early>!)?\s*")
_ACCESS = re.compile(rf"\$\{{\s*(?P<name>{_NAME})\s*(?:(?P<colon>:)\s*|\}})")
_ARGUMENT = re.compile(rf"\s*(?P<name>{_NAME})\s*=\s*")
_HEX_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})(?![0-9A-Za-z_])")
_COPIES = re.compile(r"(?<![\w.])\d{1,3}$")
_WRAP_PLACE = re.compile("\\.{3,}|[…\u1801\u22ee\u22ef\u22f0\u22f1\ufe19]")


def parse_template(source: TemplateSource, first_number: int = 1) -> ParsedTemplate:
    """The parts of a text; its variants are numbered from `first_number`. Raises TemplateError."""
    parser = _Parser(source, first_number)
    parts = parser.sequence("top")
    return ParsedTemplate(source, parts, parser.number - first_number)


def has_syntax(text: str) -> bool:
    """Whether `text` may contain template syntax; False = it stays as it is."""
    return _SPECIAL.search(text) is not None


class _NotAWildcard(Exception):
    """What begins with `__` is text."""


class _Parser:
    """Recursive descent; depth and number of parts are bounded, and each position is tried as a wildcard at most once."""

    def __init__(self, source: TemplateSource, first_number: int) -> None:
        self._source = source
        self._text = source.text
        self._at = 0
        self._depth = 0
        self._count = 0
        self.number = first_number
        if len(self._text) > MAX_CHARACTERS:
            raise self._error(f"the text has {len(self._text)} characters; at most {MAX_CHARACTERS} are read", 0)
        self._wraps = _wrap_positions(self._text)
        self._no_wildcards: set[int] = set()

    def sequence(
        self, context: str, closers: Collection[str] = (), special: re.Pattern[str] = _SPECIAL
    ) -> tuple[TemplatePart, ...]:
        """The parts up to a sign of `closers`, which is not consumed, or to the end of the text."""
        text, out, plain = self._text, list[TemplatePart](), list[str]()
        while (found := special.search(text, self._at)) is not None:
            plain.append(text[self._at : found.start()])
            self._at = found.start()
            sign = found[0]
            if sign in closers or ("$$" in closers and text.startswith("$$", self._at)):
                break
            part = self._special(sign, context, plain)
            if part is None:
                continue
            self._add_text(out, plain)
            out.append(part)
            self._count_parts(1)
        else:
            plain.append(text[self._at :])
            self._at = len(text)
        self._add_text(out, plain)
        return tuple(out)

    def _count_parts(self, number: int) -> None:
        self._count += number
        if self._count > MAX_PARTS:
            raise self._error(f"the text has more than {MAX_PARTS} parts", self._at)

    def _add_text(self, out: list[TemplatePart], plain: list[str]) -> None:
        if joined := "".join(plain):
            out.append(PlainText(joined))
        plain.clear()

    def _special(self, sign: str, context: str, plain: list[str]) -> TemplatePart | None:
        """The part that begins here, or None after adding what stands here to `plain`."""
        text, at = self._text, self._at
        following = text[at + 1 : at + 2]
        if sign == "\\":
            self._at += 2
            plain.append(following if following in _ESCAPABLE else text[at : at + 2])
            return None
        if sign == "{":
            return self._braces()
        if sign == "$" and following == "{":
            return self._variable(context)
        if sign == "$" and following == "$" and context == "bounded":
            raise self._error("a separator must not contain $, { or }", at)
        if sign == "%" and at in self._wraps:
            return self._wrap()
        if sign == "__" and (wildcard := self._wildcard(1)) is not None:
            return wildcard
        if sign == "#":
            copies = _COPIES.search(text, max(0, at - 4), at) if text.startswith("__", at + 1) else None
            if copies is not None:
                self._at += 1
                if (wildcard := self._wildcard(int(copies[0]))) is not None:
                    plain[:] = ["".join(plain)[: -len(copies[0])]]
                    return wildcard
                self._at -= 1
            is_after_blank = at == 0 or text[at - 1] in " \t\n"
            if is_after_blank and _HEX_COLOUR.match(text, at) is None:
                end = text.find("\n", at)
                self._at = len(text) if end < 0 else end
                return None
        plain.append(text[at])
        self._at += 1
        return None

    def _braces(self) -> TemplatePart:
        begin = self._at
        if (found := _RANGE.match(self._text, begin)) is not None:
            return self._range(found)
        if (found := _PLACEHOLDER.match(self._text, begin)) is not None:
            self._at = found.end()
            fallback = found[0][1:-1].lstrip()
            return Placeholder(found[1], found[2], found[3], fallback, begin)
        head = _HEAD.match(self._text, begin)
        assert head is not None  # the text has a { here
        bounds = _bounds(head)
        separator = DEFAULT_SEPARATOR if head["separator"] is None else head["separator"]
        self._at = head.end()
        number, self.number = self.number, self.number + 1
        options = [self._option(begin, bounds is not None)]
        while self._text[self._at] == "|":
            self._at += 1
            options.append(self._option(begin, bounds is not None))
        self._at += 1
        return Variants(tuple(options), SAMPLERS.get(head["sampler"] or ""), bounds, separator, number, begin)

    def _option(self, begin: int, is_bounded: bool) -> VariantOption:
        weight = Fraction(1)
        if (found := _WEIGHT.match(self._text, self._at)) is not None:
            weight = Fraction(Decimal(found[1]))
            self._at = found.end()
        self._skip_blanks()
        with _Nesting(self, begin):
            parts = self.sequence("bounded" if is_bounded else "option", "|}")
        self._require("}", "|", begin=begin, what="{")
        return VariantOption(weight, parts)

    def _range(self, found: re.Match[str]) -> NumberRange:
        self._at = found.end()
        number, self.number = self.number, self.number + 1
        if any(len(digits) > MAX_RANGE_DIGITS for digits in re.findall(r"\d+", found[0])):
            raise self._error(
                f"a number of a range has at most {MAX_RANGE_DIGITS} digits before and after the point", found.start()
            )
        low, high = Decimal(found["low"]), Decimal(found["high"])
        digits = max(-int(one.as_tuple().exponent) for one in (low, high, Decimal(found["step"] or 1)))
        step = Decimal(found["step"]) if found["step"] else Decimal(1).scaleb(-digits)
        if not step:
            raise self._error("the step of a range must not be 0", found.start())
        if high < low:
            raise self._error(f"the range runs backwards; write {{{high}-{low}}}", found.start())
        count = int((high - low) / step) + 1
        if count > MAX_RANGE_VALUES:
            text = f"the range has {count} values; at most {MAX_RANGE_VALUES} are possible, write a larger step"
            raise self._error(text, found.start())
        self._count_parts(count)
        values = tuple(f"{low + step * index:.{digits}f}" for index in range(count))
        return NumberRange(values, SAMPLERS.get(found["sampler"] or ""), number)

    def _variable(self, context: str) -> TemplatePart:
        begin = self._at
        if (found := _ACCESS.match(self._text, begin)) is not None:
            self._at = found.end()
            default = self._value(begin) if found["colon"] else None
            return VariableUse(found["name"], default, begin)
        found = _ASSIGNMENT.match(self._text, begin)
        if found is None:
            raise self._error(
                "write ${name}, ${name:default} or ${name=value}; a name has letters, digits, - and _, and begins with no digit",
                begin,
            )
        if context != "top":
            raise self._error("an assignment must stand outside of { }; move it to the start of the text", begin)
        self._at = found.end()
        return Assignment(found["name"], self._value(begin), bool(found["early"]), bool(found["unset"]), begin)

    def _value(self, begin: int) -> tuple[TemplatePart, ...]:
        with _Nesting(self, begin):
            parts = self.sequence("value", "}")
        self._require("}", begin=begin, what="${")
        self._at += 1
        return parts

    def _wrap(self) -> Wrap:
        begin = self._at
        self._at += 2
        self._skip_blanks()
        with _Nesting(self, begin):
            wrapper = self.sequence("wrapper", ("$$", "}"))
            if not self._text.startswith("$$", self._at):
                raise self._error("this %{ has no $$ between wrapper and text", begin)
            self._at += 2
            inner = self.sequence("value", "}")
        self._require("}", begin=begin, what="%{")
        self._at += 1
        for index, part in enumerate(wrapper):
            if isinstance(part, PlainText) and (place := _WRAP_PLACE.search(part.text)) is not None:
                before = (*wrapper[:index], PlainText(part.text[: place.start()]))
                return Wrap(before, inner, (PlainText(part.text[place.end() :]), *wrapper[index + 1 :]))
        return Wrap(wrapper, inner, ())

    def _wildcard(self, copies: int) -> WildcardUse | None:
        """The wildcard that begins with `__` here; None = it is text."""
        begin, number = self._at, self.number
        if begin in self._no_wildcards:
            return None
        try:
            return self._wildcard_use(begin, copies)
        except _NotAWildcard:
            self._no_wildcards.add(begin)
            self._at, self.number = begin, number
            return None

    def _wildcard_use(self, begin: int, copies: int) -> WildcardUse:
        self._at += 2
        sampling = SAMPLERS.get(self._text[self._at : self._at + 1])
        self._at += sampling is not None
        with _Nesting(self, begin):
            path = self.sequence("path", ("__", "(", ")", "|", "}", "#", "%", "\\", "\n"), _SPECIAL_IN_PATH)
            arguments = self._arguments() if self._text[self._at : self._at + 1] == "(" else ()
        if not path or not self._text.startswith("__", self._at):
            raise _NotAWildcard
        if copies > MAX_COPIES:
            raise self._error(f"{copies} copies of a wildcard; at most {MAX_COPIES} are possible", begin)
        self._at += 2
        return WildcardUse(path, sampling, arguments, copies, begin)

    def _arguments(self) -> tuple[tuple[str, tuple[TemplatePart, ...]], ...]:
        arguments = []
        while self._text[self._at : self._at + 1] in ("(", ","):
            found = _ARGUMENT.match(self._text, self._at + 1)
            if found is None:
                raise _NotAWildcard
            self._at = found.end()
            arguments.append((found["name"], self.sequence("value", (",", ")", "(", "\n"), _SPECIAL_IN_ARGUMENT)))
        if self._text[self._at : self._at + 1] != ")":
            raise _NotAWildcard
        self._at += 1
        return tuple(arguments)

    def _skip_blanks(self) -> None:
        blanks = _BLANKS.match(self._text, self._at)
        self._at = self._at if blanks is None else blanks.end()

    def _require(self, *signs: str, begin: int, what: str) -> None:
        if self._text[self._at : self._at + 1] not in signs:
            raise self._error(
                f"this {what} has no closing }}; add it, or write \\{what} for the signs themselves", begin
            )

    def _error(self, message: str, at: int) -> TemplateError:
        return TemplateError(message, [self._source.place(at)])

    def enter(self, begin: int) -> None:
        """Counts one more level of nesting. Raises TemplateError when there are too many."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"the text is nested more than {MAX_DEPTH} deep", begin)

    def leave(self) -> None:
        """Counts one level of nesting less."""
        self._depth -= 1


class _Nesting:
    def __init__(self, parser: _Parser, begin: int) -> None:
        self._parser = parser
        self._begin = begin

    def __enter__(self) -> None:
        self._parser.enter(self._begin)

    def __exit__(self, *_: object) -> None:
        self._parser.leave()


def _bounds(head: re.Match[str]) -> tuple[int, int | None] | None:
    if head["most"] is not None:
        return 1, int(head["most"])
    if head["low"] is None:
        return None
    low = int(head["low"])
    if head["open"] is None:
        return low, low
    if head["high"] is None:
        return low, None
    return min(low, int(head["high"])), max(low, int(head["high"]))


def _wrap_positions(text: str) -> frozenset[int]:
    """Where `%{` begins a wrap: its group has `$$` at its own level. Without, the % is text."""
    if "%{" not in text:
        return frozenset()
    wraps, open_groups = set[int](), list[int]()
    for found in re.finditer(r"\\.|[{}]|\$\$", text, re.DOTALL):
        if found[0] == "{":
            open_groups.append(found.start())
        elif found[0] == "}" and open_groups:
            open_groups.pop()
        elif found[0] == "$$" and open_groups and text[open_groups[-1] - 1 : open_groups[-1]] == "%":
            wraps.add(open_groups[-1] - 1)
    return frozenset(wraps)
