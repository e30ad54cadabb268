"""Template files: keys of a job that many jobs share. `template: portraits` reads `portraits.yaml` in the folder of templates.

A job's own keys win over those of its template, and those of a template over those of the one that it extends. `{prompt}` in the
prompt of a template is the place of the prompt of whoever uses it; `{negative_prompt}` likewise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.errors import JobRefused
from indexd.jobs.admission.wildcard_files import WildcardFileError, list_files, read_bounded_file
from indexd.jobs.parsing import yaml_guard
from indexd.jobs.parsing.validation import FieldError
from indexd.jobs.parsing.yaml_guard import FieldPath, FilePosition, Position, YamlDocument
from indexd.templates.errors import nearest_name

TEMPLATE_FILE_LIMITS = yaml_guard.YamlLimits("template file")
MAX_EXTENDED = 10
_SUFFIXES = (".yaml", ".yml")
_INJECTED_KEYS = ("prompt", "negative_prompt")
# Of a template file alone; they are no keys of a job.
_HEADER_KEYS = frozenset({"extends", "slots", "name", "description", "version"})


@dataclass(frozen=True, slots=True)
class MergedJob:
    """A job file with the keys of its template below its own, and the files read for it with the blake3 of each."""

    document: YamlDocument
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _TemplateFile:
    relative: str
    document: YamlDocument
    content_hash: str


class TemplateFiles:
    """The files below one folder, read when a job names them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def merge(self, document: YamlDocument) -> MergedJob:
        """The job with its template. Raises FieldError at `template`."""
        stated = document.data.get("template")
        name = stated.get("name") if isinstance(stated, dict) else stated
        if not isinstance(name, str):
            return MergedJob(document, {})
        try:
            chain = list(self._read_chain(name))
        except (WildcardFileError, JobRefused) as error:
            raise FieldError(("template",), f"template: {error}") from None
        data: dict[str, Any] = {}
        keys: dict[FieldPath, Position] = {}
        values: dict[FieldPath, Position] = {}
        options: dict[str, Any] = {}
        slots: dict[str, Any] = {}
        for file in reversed(chain):  # the one that is extended first
            own = file.document
            slots |= _mapping(own.data.get("slots"))
            options |= _mapping(own.data.get("template"))
            _merge_keys(data, {key: value for key, value in own.data.items() if key not in _HEADER_KEYS})
            _merge_positions(keys, own.key_positions, file.relative)
            _merge_positions(values, own.value_positions, file.relative)
        own_options = _mapping(stated)
        _merge_keys(data, {key: value for key, value in document.data.items() if key != "template"})
        for key in _INJECTED_KEYS:
            if isinstance(data.get(key), str):
                data[key] = _inject(data[key], key, "")
        merged_slots = slots | _mapping(own_options.get("slots"))
        data["template"] = {**options, **own_options, "name": name, **({"slots": merged_slots} if merged_slots else {})}
        merged = YamlDocument(data, keys | document.key_positions, values | document.value_positions, document.lines)
        return MergedJob(merged, {f"templates/{file.relative}": file.content_hash for file in chain})

    def _read_chain(self, name: str) -> Iterator[_TemplateFile]:
        """The template and those that it extends."""
        seen: list[str] = []
        wanted: Any = name
        while wanted is not None:
            if not isinstance(wanted, str):
                raise WildcardFileError(f"{seen[-1]}: `extends` must be the name of a template")
            file = self._read(wanted)
            if file.relative in seen:
                raise WildcardFileError(f"the template extends itself: {' -> '.join([*seen, file.relative])}")
            seen.append(file.relative)
            if len(seen) > MAX_EXTENDED:
                raise WildcardFileError(f"templates extend each other more than {MAX_EXTENDED} deep")
            yield file
            wanted = file.document.data.get("extends")

    def _read(self, name: str) -> _TemplateFile:
        known = {os.path.splitext(file)[0]: file for file in list_files(self._folder, _SUFFIXES)}
        relative = known.get(name.replace("\\", "/").removesuffix(".yaml").removesuffix(".yml"))
        if relative is None:
            hint = nearest_name(name, known) or f" in {self._folder}"
            raise WildcardFileError(f"there is no template {name!r}{hint}")
        content = read_bounded_file(self._folder / relative, relative, TEMPLATE_FILE_LIMITS.max_bytes)
        try:
            document = yaml_guard.parse_yaml(content, TEMPLATE_FILE_LIMITS)
        except JobRefused as refused:
            raise WildcardFileError(f"{relative}, {refused}") from None
        return _TemplateFile(relative, document, blake3(content).hexdigest())


def _merge_keys(data: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Put the keys of the one who uses `data` over it."""
    for key, value in own.items():
        if key == "template":
            continue
        before = data.get(key)
        if key in _INJECTED_KEYS and isinstance(before, str) and isinstance(value, str):
            data[key] = _inject(before, key, value) if _inject(before, key, "") != before else value
        else:
            data[key] = value


def _inject(text: str, key: str, inner: str) -> str:
    """`inner` in the place of `{prompt}`, or of `{negative_prompt}`, which Template System V2 calls `{negprompt}`."""
    names = "prompt" if key == "prompt" else "negative_prompt|negprompt"
    return re.sub(rf"\{{\s*(?:{names})\s*\}}", lambda _: inner, text)


def _merge_positions(merged: dict[FieldPath, Position], positions: Mapping[FieldPath, Position], relative: str) -> None:
    for path, position in positions.items():
        if path:
            place = ("template", *path) if path[0] == "slots" else path
            merged[place] = FilePosition(position.line, position.column, relative)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
