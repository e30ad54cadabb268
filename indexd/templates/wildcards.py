"""Wildcards: lists of values that `__name__` draws from, by name. `indexd/templates/compiler.py` expands their uses."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from indexd.templates.errors import TemplateSource, nearest_name

MAX_LIST_DEPTH = 20

_GLOB_SIGNS = re.compile(r"[*?\[]")
_WEIGHTED_VALUE = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*::\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class WildcardValue:
    """One value of a list: a template text with its place, and its weight in random draws."""

    source: TemplateSource
    weight: Fraction = Fraction(1)


class AmbiguousWildcard(Exception):
    """A name matches several lists that differ in letter case only."""


class WildcardLibrary:
    """The lists by name. `load` gives the values of a name; each name is loaded once, when it is first used."""

    def __init__(
        self,
        names: Iterable[str],
        load: Callable[[str], Sequence[WildcardValue]],
        file_folders: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`file_folders`: each YAML or JSON file without its suffix, and its folder, both relative ("" = the top folder)."""
        self.names = sorted(names)
        self._load = load
        self._file_folders = file_folders
        self._loaded: dict[str, Sequence[WildcardValue]] = {}

    @classmethod
    def from_texts(cls, lists: Mapping[str, Sequence[str]]) -> WildcardLibrary:
        """A library of plain texts."""
        return cls(lists, lambda name: [WildcardValue(TemplateSource(name, text)) for text in lists[name]])

    def values(self, name: str) -> Sequence[WildcardValue]:
        """The values of the list `name`, in the order of its file."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def find(self, pattern: str) -> list[str]:
        """The names that a path stands for: the name itself, else its matches as a glob in which `*` also matches "/".

        Where nothing matches, names in other folders that end with "/" + `pattern` do. Letter case counts only where two names
        differ in nothing else; AmbiguousWildcard where the pattern fits several of those equally.
        """
        pattern = pattern.replace("\\", "/")
        if ".." in pattern.split("/"):
            return []
        is_glob = _GLOB_SIGNS.search(pattern) is not None
        for candidate in (pattern, f"*/{pattern}") if is_glob else (pattern, f"*/{_escape_glob(pattern)}"):
            found = self._matches(candidate, is_glob=is_glob or candidate != pattern)
            if found:
                return found
        return []

    def name_in_file(self, file: str, path: str) -> str:
        """The name of the list `path` ("a.b") of a YAML or JSON file. Raises LookupError with a sentence."""
        folder = self._file_folders.get(file)
        if folder is None:
            raise LookupError(
                f"there is no YAML or JSON file {file!r} of wildcards{nearest_name(file, self._file_folders)}"
                r"; write \{ for a plain brace"
            )
        name = _join(folder, path.replace(".", "/"))
        if name not in self.names:
            inside = [one.removeprefix(f"{folder}/").replace("/", ".") for one in self.names if one.startswith(folder)]
            raise LookupError(f"the file {file!r} has no list {path!r}{nearest_name(path, inside)}")
        return name

    def _matches(self, pattern: str, *, is_glob: bool) -> list[str]:
        expression = re.compile(fnmatch.translate(pattern) if is_glob else re.escape(pattern) + r"\Z")
        found = [name for name in self.names if expression.match(name)]
        if not found:
            folded = re.compile(expression.pattern, re.IGNORECASE)
            found = [name for name in self.names if folded.match(name)]
            if not is_glob and len(found) > 1:
                raise AmbiguousWildcard(", ".join(found))
        return found


def values_from_text(text: str, file_name: str) -> list[WildcardValue]:
    """The values of a `.txt` file: one a line, blanks around it dropped; empty lines and lines that begin with # are none.

    `3::red` has weight 3.
    """
    values = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            values.append(_weighted(stripped, file_name, number))
    return values


def lists_from_data(data: Any, folder: str, file_name: str, stem: str) -> dict[str, list[WildcardValue]]:
    """The lists of a YAML or JSON file by name: its keys joined by "/" below `folder` ("" = the top folder).

    A list at the top of the file has the name of the file, `stem`. A value is a text, or a mapping with `text` (or `content`)
    and `weight`; numbers and other values are left out.
    """
    if isinstance(data, list):
        return {_join(folder, stem): _list_values(data, file_name)}
    return dict(_walk(data, folder, file_name, 0))


def _walk(data: Any, prefix: str, file_name: str, depth: int) -> Iterator[tuple[str, list[WildcardValue]]]:
    if not isinstance(data, Mapping) or depth > MAX_LIST_DEPTH:
        return
    for key, value in data.items():
        if not isinstance(key, str):
            continue
        name = _join(prefix, key)
        if isinstance(value, Mapping):
            yield from _walk(value, name, file_name, depth + 1)
        elif values := _list_values(value if isinstance(value, list) else [value], file_name):
            yield name, values


def _list_values(items: Iterable[Any], file_name: str) -> list[WildcardValue]:
    values = []
    for number, item in enumerate(items, 1):
        name = f"{file_name}, value {number}"
        if isinstance(item, str):
            values.append(_weighted(item, name, 1))
        elif isinstance(item, Mapping):
            text, weight = item.get("text", item.get("content")), item.get("weight", 1)
            is_number = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < 1e9
            if isinstance(text, str) and is_number:
                values.append(WildcardValue(TemplateSource(name, text), Fraction(Decimal(str(weight)))))
    return values


def _weighted(text: str, name: str, line: int) -> WildcardValue:
    found = _WEIGHTED_VALUE.fullmatch(text)
    if found is None:
        return WildcardValue(TemplateSource(name, text, line))
    return WildcardValue(TemplateSource(name, found[2], line), Fraction(Decimal(found[1])))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _escape_glob(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
