"""The parts of a parsed template. `at` is an offset into the text of its source."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from indexd.templates.errors import TemplateSource

Sampling = Literal["product", "random", "cyclic"]
"""How a slot takes its options: each in turn as a digit of a mixed-radix number, at random, or in step with the other cyclic slots."""


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text that stays as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class VariantOption:
    """One option of variants. `weight` counts in random draws only; 0 removes the option."""

    weight: Fraction
    parts: tuple[TemplatePart, ...]


@dataclass(frozen=True, slots=True)
class Variants:
    """`{a|b}`. With `bounds` (`{1-2$$a|b}`) between so many different options are taken, joined by `separator`.

    `number` counts the variants of a text from 1; it names the choice.
    """

    options: tuple[VariantOption, ...]
    sampling: Sampling | None
    bounds: tuple[int, int | None] | None
    separator: str
    number: int
    at: int


@dataclass(frozen=True, slots=True)
class NumberRange:
    """`{1-10}` or `{0.5-1.5:0.1}`: one of these numbers, written out."""

    values: tuple[str, ...]
    sampling: Sampling | None
    number: int


@dataclass(frozen=True, slots=True)
class WildcardUse:
    """`__path__`: one value of a list. `arguments` are variables for its values; `copies` is the N of `N#__path__`."""

    path: tuple[TemplatePart, ...]
    sampling: Sampling | None
    arguments: tuple[tuple[str, tuple[TemplatePart, ...]], ...]
    copies: int
    at: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """`${name=value}`. `is_early` (`=!`): one value for all uses. `only_if_unset` (`?=`): a default."""

    name: str
    value: tuple[TemplatePart, ...]
    is_early: bool
    only_if_unset: bool
    at: int


@dataclass(frozen=True, slots=True)
class VariableUse:
    """`${name}` or `${name:default}`."""

    name: str
    default: tuple[TemplatePart, ...] | None
    at: int


@dataclass(frozen=True, slots=True)
class Wrap:
    """`%{before ... after$$inner}`."""

    before: tuple[TemplatePart, ...]
    inner: tuple[TemplatePart, ...]
    after: tuple[TemplatePart, ...]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{Name}`, `{Name:part}` or `{Name[selector]}`; `fallback` is the text where no slot has this name."""

    name: str
    part: str | None
    selector: str | None
    fallback: str
    at: int


TemplatePart: TypeAlias = (
    PlainText | Variants | NumberRange | WildcardUse | Assignment | VariableUse | Wrap | Placeholder
)


@dataclass(frozen=True, slots=True)
class ParsedTemplate:
    """A text and its parts; `variant_count` variants and ranges are numbered."""

    source: TemplateSource
    parts: tuple[TemplatePart, ...]
    variant_count: int
