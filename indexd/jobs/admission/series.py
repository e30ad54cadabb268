"""A series: one job file that makes an image for every combination of some values, on a labelled sheet.

`grid: {cfg: [4, 7], sampler: [euler, ddim]}` names up to three axes: columns, rows, and tables below each other. A list as the
value of a key that takes one value is an axis as well. What results is general: combinations in their order, each a set of
overrides of keys, with one label an axis.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from indexd.jobs.parsing.quoting import quoting_advice
from indexd.jobs.parsing.validation import FieldError, format_path
from indexd.jobs.parsing.yaml_guard import PROMPT_KEYS, FieldPath, YamlDocument
from indexd_schemas.jobs.job import GRID_KEY, Job
from indexd_schemas.jobs.job_values import MAX_GRID_AXES
from indexd_schemas.validation_messages import quote_value

COMMON_KEYS = ("kind", "output", "priority", "keep", GRID_KEY)
"""Keys that are the same for every image of a job."""
TEMPLATE_NAME_PATHS: tuple[FieldPath, ...] = (("template",), ("template", "name"))
"""Where a job names its template file, which is merged into the job before the series is read."""
LABEL_CHARACTERS_MAX = 200
_UNQUOTED_LIST = re.compile(r"""\[\s*[^\s"']""")


@dataclass(frozen=True, slots=True)
class Override:
    """A key of a job file set to a value; `source` is where the file states the value."""

    path: FieldPath
    value: Any
    source: FieldPath


@dataclass(frozen=True, slots=True)
class AxisValue:
    """One column, row or table: what it changes, and its label."""

    override: Override
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A key of the job and its values."""

    key: str
    values: tuple[AxisValue, ...]


@dataclass(frozen=True, slots=True)
class SeriesCombination:
    """The images of one combination: overrides of the job's keys, and one label an axis."""

    overrides: tuple[Override, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The axes of a job, columns first. Combinations run through the columns, then the rows, then the tables."""

    base: YamlDocument
    axes: tuple[Axis, ...]

    @property
    def count(self) -> int:
        """The number of combinations."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def source(self) -> FieldPath:
        """Where the file states the first axis."""
        return _source(self.axes[0])

    def describe(self) -> str:
        """The axes as they are counted: `cfg 2 x sampler 3`."""
        return " x ".join(f"{axis.key} {len(axis.values)}" for axis in self.axes)

    def combinations(self) -> list[SeriesCombination]:
        """In the order of the job items: the first axis changes fastest."""
        combinations = itertools.product(*(axis.values for axis in reversed(self.axes)))
        return [
            SeriesCombination(tuple(one.override for one in values[::-1]), tuple(one.label for one in values[::-1]))
            for values in combinations
        ]

    def document(self, combination: SeriesCombination) -> YamlDocument:
        """The job file of one combination. What is wrong in it is reported where the series states it."""
        data = copy.deepcopy(self.base.data)
        keys, values = dict(self.base.key_positions), dict(self.base.value_positions)
        for override in combination.overrides:
            _set_value(data, override)
            keys[override.path] = self.base.key_position(override.source)
            values[override.path] = self.base.value_position(override.source)
        return YamlDocument(data, keys, values, self.base.lines)


def read_series(document: YamlDocument, schema: type[Job], draw_seed: Callable[[], int]) -> Series | None:
    """The series that a job file asks for; None where it asks for single values only. Raises FieldError.

    Every combination has the same seeds: `draw_seed` is called once where the file states none.
    """
    data = {key: value for key, value in document.data.items() if key != GRID_KEY}
    axes = [*_grid_axes(document), *_list_axes(document, schema)]
    if not axes:
        return None
    if len(axes) > MAX_GRID_AXES:
        names = ", ".join(axis.key for axis in axes)
        raise FieldError(
            _source(axes[-1]), f"{axes[-1].key}: a series has at most {MAX_GRID_AXES} axes (here: {names})"
        )
    repeated = next((axis for place, axis in enumerate(axes) if axis.key in [one.key for one in axes[:place]]), None)
    if repeated is not None:
        raise FieldError(_source(repeated), f"{repeated.key}: it is an axis already; keep one of the two")
    for axis in axes:
        # The key may hold the list of values, which must not decide the type of the new value.
        if axis.key in data:
            data[axis.key] = axis.values[0].override.value
    _fix_seeds(data, {axis.key for axis in axes}, draw_seed)
    base = YamlDocument(data, document.key_positions, document.value_positions, document.lines)
    return Series(base, tuple(axes))


def _fix_seeds(data: dict[str, Any], axes: set[str], draw_seed: Callable[[], int]) -> None:
    states_seeds = "seeds" in data or data.get("seed") not in (None, -1) or not axes.isdisjoint({"seed", "seeds"})
    if data.get("kind") != "regenerate" and not states_seeds:
        data["seed"] = draw_seed()
    variation = data.get("variation")
    if isinstance(variation, dict) and variation.get("seed") in (None, -1):
        data["variation"] = variation | {"seed": draw_seed()}


def _grid_axes(document: YamlDocument) -> list[Axis]:
    if GRID_KEY not in document.data:
        return []
    grid = document.data[GRID_KEY]
    if not isinstance(grid, dict) or not grid:
        raise FieldError((GRID_KEY,), f"{GRID_KEY}: must be `key: [values]` pairs such as {{cfg: [4, 7]}}")
    return [_grid_axis(document.data, str(key), stated) for key, stated in grid.items()]


def _grid_axis(data: Mapping[str, Any], key: str, stated: Any) -> Axis:
    source, where = (GRID_KEY, key), f"{GRID_KEY}.{key}"
    path: FieldPath = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    if path[0] in COMMON_KEYS:
        raise FieldError(source, f"{where}: `{path[0]}` is the same for all images of a job")
    if path in TEMPLATE_NAME_PATHS:
        raise FieldError(source, f"{where}: the template file is the same for all images of a job")
    if isinstance(stated, dict):
        return Axis(key, _replacements(data, path, stated, source))
    if not isinstance(stated, list) or not stated:
        raise FieldError(source, f"{where}: must be a list of values, or {{search: a text, replace: [texts]}}")
    return Axis(key, tuple(_axis_value(key, path, value, (*source, place)) for place, value in enumerate(stated)))


def _replacements(
    data: Mapping[str, Any], path: FieldPath, stated: dict[str, Any], source: FieldPath
) -> tuple[AxisValue, ...]:
    """Prompt search and replace: the text of a key with one part exchanged."""
    where = format_path(source)
    search, texts = stated.get("search"), stated.get("replace")
    if (
        stated.keys() != {"search", "replace"}
        or not isinstance(search, str)
        or not search
        or not isinstance(texts, list)
    ):
        raise FieldError(source, f"{where}: must be {{search: a text, replace: [texts]}}, or a list of values")
    base = _value_at(data, path)
    if not isinstance(base, str) or search not in base:
        raise FieldError(
            (*source, "search"), f"{where}.search: `{format_path(path)}` does not contain {quote_value(search)}"
        )
    values = []
    for place, text in enumerate(texts):
        at = (*source, "replace", place)
        if not isinstance(text, str):
            raise FieldError(at, f"{format_path(at)}: must be text (got {quote_value(text)})")
        values.append(AxisValue(Override(path, base.replace(search, text), at), _shorten(text) or f"(no {search})"))
    if not values:
        raise FieldError((*source, "replace"), f"{where}.replace: the list is empty")
    return tuple(values)


def _list_axes(document: YamlDocument, schema: type[Job]) -> list[Axis]:
    """The keys that take one value and have a list."""
    axes = []
    for key, value in document.data.items():
        if key != GRID_KEY and isinstance(value, list) and value and key in _single_value_keys(schema):
            if key in PROMPT_KEYS:
                _refuse_prompt_in_brackets(document, key)
            axes.append(Axis(key, tuple(_axis_value(key, (key,), one, (key, at)) for at, one in enumerate(value))))
    return axes


def _refuse_prompt_in_brackets(document: YamlDocument, key: str) -> None:
    """Raise FieldError for `prompt: [red:blue:0.5]` and `[ugly, blurry]`: prompts begin so in A1111's syntax."""
    line = document.line_of((key,))
    if _UNQUOTED_LIST.match(line[document.value_position((key,)).column - 1 :]):
        raise FieldError(
            (key,),
            f"{key}: YAML reads `[` at the start of a text as a list; {quoting_advice(line)}. A series of prompts has "
            f'quotes in its list: {key}: ["…", "…"]',
        )


@lru_cache(maxsize=16)
def _single_value_keys(schema: type[Job]) -> frozenset[str]:
    """The keys that take no list themselves."""
    described = schema.model_json_schema()
    return frozenset(
        key
        for key, field in described["properties"].items()
        if key not in COMMON_KEYS and not _takes_list(field, described.get("$defs", {}))
    )


def _takes_list(field: Any, definitions: Mapping[str, Any]) -> bool:
    if not isinstance(field, dict):
        return False
    if "$ref" in field:
        return _takes_list(definitions[field["$ref"].rpartition("/")[2]], definitions)
    return field.get("type") == "array" or any(
        _takes_list(one, definitions) for name in ("anyOf", "oneOf", "allOf") for one in field.get(name, ())
    )


def _axis_value(key: str, path: FieldPath, value: Any, source: FieldPath) -> AxisValue:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return AxisValue(Override(path, value, source), _shorten(f"{key}: {text}"))


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LABEL_CHARACTERS_MAX else f"{line[: LABEL_CHARACTERS_MAX - 1]}…"


def _source(axis: Axis) -> FieldPath:
    return axis.values[0].override.source[:-1]


def _value_at(data: Any, path: FieldPath) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _set_value(data: dict[str, Any], override: Override) -> None:
    """Set the value; parts on the way that are missing are made. Raises FieldError where another kind of value is there."""
    place: Any = data
    for depth, part in enumerate(override.path[:-1], 1):
        if isinstance(place, dict) and part not in place and isinstance(override.path[depth], str):
            place[part] = {}
        inner = _value_at(place, (part,))
        if not isinstance(inner, dict | list):
            # A bare value is the short form of some part: `upscale: name`.
            text = (
                f"{format_path(override.source[:2])}: `{format_path(override.path[:depth])}` has no parts in this job"
            )
            raise FieldError(override.source, text)
        place = inner
    last = override.path[-1]
    is_there = isinstance(place, dict) or (isinstance(place, list) and isinstance(last, int) and last < len(place))
    if not is_there:
        raise FieldError(
            override.source, f"{format_path(override.source[:2])}: there is no `{format_path(override.path)}`"
        )
    place[last] = override.value


@dataclass(frozen=True, slots=True)
class SheetPlan:
    """The sheet of a series, stored with its job item: labels, and the index of the item in each cell.

    `blocks` are tables, each a title and the indexes by rows. `to_settings` is JSON.
    """

    columns: Sequence[str]
    rows: Sequence[str]
    blocks: Sequence[tuple[str, Sequence[int]]]

    def to_settings(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "columns": list(self.columns),
            "rows": list(self.rows),
            "blocks": [{"title": title, "items": list(items)} for title, items in self.blocks],
        }


def plan_sheet(axes: Sequence[Axis], images_per_combination: Sequence[str]) -> SheetPlan:
    """The sheet of a series whose combinations have these images each (their names), item by item.

    The first axis has the columns, the second the rows. Each value of the third has a table, and each image of a combination has one.
    """
    columns, rows, tables = ([one.label for one in axis.values] for axis in (*axes, *[Axis("", (_NOTHING,))] * 3)[:3])
    per_combination, per_table = len(images_per_combination), len(columns) * len(rows)
    blocks = []
    for number, table in enumerate(tables):
        for place, image in enumerate(images_per_combination):
            title = " · ".join(part for part in (table, image if per_combination > 1 else "") if part)
            first = number * per_table
            blocks.append((title, [(first + cell) * per_combination + place for cell in range(per_table)]))
    return SheetPlan(columns, rows, blocks)


_NOTHING = AxisValue(Override((), None, ()), "")
