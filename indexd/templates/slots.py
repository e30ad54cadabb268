"""Slots: named lists of options that `{Name}` draws from, with several parts to an option, and selectors that narrow them.

The selectors are those of Template System V2: `[3]` takes three at random, `[#0,2]` and `[#0-4]` take positions from 0, `[bob,long]`
takes keys, `[$2]` sets the place in the order of loops (smaller = changes slower), `[$0]` draws one for each image outside of the
product. They are joined by `;`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from indexd.templates.errors import TemplateSource, nearest_name
from indexd.templates.random_order import KeyedPermutation

MAIN_PART = "prompt"
DEFAULT_LOOP_WEIGHT = 1

_POSITIONS = re.compile(r"#\s*\d{1,6}(?:\s*-\s*\d{1,6})?(?:\s*,\s*#?\d{1,6}(?:\s*-\s*\d{1,6})?)*")
_LOOP_WEIGHT = re.compile(r"\$\s*(\d{1,6})")


@dataclass(frozen=True, slots=True)
class SlotOption:
    """One option of a slot: the texts of its parts by name, `label` as the value of the choice."""

    label: str
    parts: Mapping[str, TemplateSource]
    weight: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Slot:
    """A named list of options."""

    name: str
    options: tuple[SlotOption, ...]

    @property
    def part_names(self) -> list[str]:
        """The names of all parts of its options."""
        return sorted({part for option in self.options for part in option.parts})


@dataclass(frozen=True, slots=True)
class SlotSelection:
    """The options that a selector leaves, and the place of the slot in the order of loops; None = drawn for each image."""

    options: tuple[SlotOption, ...]
    loop_weight: int | None = DEFAULT_LOOP_WEIGHT


def select_options(slot: Slot, selector: str | None, seed: int) -> SlotSelection:
    """Apply a selector. Raises LookupError with a sentence where it selects nothing or cannot be read."""
    options: Sequence[SlotOption] = slot.options
    loop_weight: int | None = DEFAULT_LOOP_WEIGHT
    for part in (selector or "").split(";"):
        text = part.strip()
        if not text:
            continue
        if (found := _LOOP_WEIGHT.fullmatch(text)) is not None:
            loop_weight = int(found[1]) or None
        elif text.isdigit():
            options = _random_options(options, int(text), seed, slot.name)
        elif _POSITIONS.fullmatch(text):
            options = _options_at(options, text)
        else:
            options = _options_by_label(slot, options, text)
        if not options:
            raise LookupError(f"the selector [{selector}] leaves no option of the slot {slot.name!r}")
    return SlotSelection(tuple(options), loop_weight)


def _random_options(options: Sequence[SlotOption], count: int, seed: int, name: str) -> list[SlotOption]:
    """So many options at random, in their order."""
    permutation = KeyedPermutation(len(options), seed, *name.encode())
    chosen = sorted(permutation[index] for index in range(min(count, len(options))))
    return [options[index] for index in chosen]


def _options_at(options: Sequence[SlotOption], text: str) -> list[SlotOption]:
    """The options at positions; those out of range are left out, as in V2."""
    chosen: list[SlotOption] = []
    for part in text.replace("#", "").split(","):
        first, _, last = part.partition("-")
        chosen += options[int(first) : int(last or first) + 1]
    return list({option.label: option for option in chosen}.values())


def _options_by_label(slot: Slot, options: Sequence[SlotOption], text: str) -> list[SlotOption]:
    by_label = {option.label.casefold(): option for option in options}
    chosen = []
    for label in (part.strip() for part in text.split(",")):
        if label.casefold() not in by_label:
            hint = nearest_name(label, [option.label for option in options])
            raise LookupError(f"the slot {slot.name!r} has no option {label!r}{hint}")
        chosen.append(by_label[label.casefold()])
    return chosen
