"""The folder of wildcards -> lists by name. Its files are read like job files: only regular ones, of bounded size, count and depth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from indexd.errors import JobRefused, NotRegularFile, is_transient_os_error, raise_if_transient
from indexd.fs.paths import display
from indexd.fs.safe_open import open_regular
from indexd.jobs.parsing import yaml_guard
from indexd.templates.errors import nearest_name
from indexd.templates.wildcards import WildcardLibrary, WildcardValue, lists_from_data, values_from_text

WILDCARD_FILE_LIMITS = yaml_guard.YamlLimits("wildcard file", 1 << 20, 40_000, 80_000, allows_list=True)
MAX_TEXT_BYTES = 8 << 20
MAX_FILES = 20_000
_SUFFIXES = (".txt", ".yaml", ".yml", ".json")


class WildcardFileError(Exception):
    """A wildcard file cannot be read or parsed; the text names the file."""


@dataclass(frozen=True, slots=True)
class _ParsedFile:
    stamp: tuple[int, int, int]
    data: Any
    lists: Mapping[str, Sequence[WildcardValue]]
    content_hash: str


class WildcardFolder:
    """The lists below one folder: `.txt` files by their path, `.yaml`, `.yml` and `.json` files by folder and keys.

    YAML and JSON files are parsed again when they were changed. The names in them must be known before a template can be compiled.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: dict[str, _ParsedFile] = {}

    def read(self) -> WildcardSnapshot:
        """The names as the folder has them now; `.txt` files are read when a template uses them."""
        return WildcardSnapshot(self._folder, self._read_structured)

    def _read_structured(self, relative: str) -> _ParsedFile:
        path = self._folder / relative
        stat = path.lstat()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        known = self._parsed.get(relative)
        if known is None or known.stamp != stamp:
            content = read_bounded_file(path, relative, WILDCARD_FILE_LIMITS.max_bytes)
            folder, _, name = relative.rpartition("/")
            data = _parse(content, relative)
            lists = lists_from_data(data, folder, relative, os.path.splitext(name)[0])
            known = self._parsed[relative] = _ParsedFile(stamp, data, lists, blake3(content).hexdigest())
        return known


class WildcardSnapshot:
    """The lists of the folder at one moment, as a library. `problems` are files that cannot be used, with the reason."""

    def __init__(self, folder: Path, read_structured: Callable[[str], _ParsedFile]) -> None:
        self._folder = folder
        self._files: dict[str, list[str]] = {}
        self._structured: dict[str, _ParsedFile] = {}
        self._hashes: dict[str, str] = {}
        self.problems: list[str] = []
        file_folders: dict[str, str] = {}
        for relative in sorted(list_files(folder)):
            stem, suffix = os.path.splitext(relative)
            if suffix == ".txt":
                self._files.setdefault(stem, []).append(relative)
                continue
            file_folders[stem] = relative.rpartition("/")[0]
            try:
                parsed = self._structured[relative] = read_structured(relative)
            except WildcardFileError as error:
                self.problems.append(str(error))
            else:
                for name in parsed.lists:
                    self._files.setdefault(name, []).append(relative)
        self.library = WildcardLibrary(self._files, self._values, file_folders)

    def data(self, relative: str) -> Any:
        """The content of a YAML or JSON file. Raises LookupError with a sentence, WildcardFileError."""
        parsed = self._structured.get(relative)
        if parsed is None:
            problem = next((one for one in self.problems if one.startswith(relative)), None)
            if problem is not None:
                raise WildcardFileError(problem)
            raise LookupError(
                f"there is no file {relative!r} in the folder of wildcards{nearest_name(relative, self._structured)}"
            )
        self._hashes[relative] = parsed.content_hash
        return parsed.data

    def nearest(self, name: str) -> str:
        """The nearest name of a list as the end of a sentence."""
        return nearest_name(name, self.library.names)

    def used_files(self) -> dict[str, str]:
        """The files whose values a template used, relative to the folder, and the blake3 of their content in hex."""
        return dict(sorted(self._hashes.items()))

    def _values(self, name: str) -> list[WildcardValue]:
        values: list[WildcardValue] = []
        for relative in self._files[name]:
            parsed = self._structured.get(relative)
            if parsed is not None:
                self._hashes[relative] = parsed.content_hash
                values += parsed.lists[name]
                continue
            content = read_bounded_file(self._folder / relative, relative, MAX_TEXT_BYTES)
            self._hashes[relative] = blake3(content).hexdigest()
            values += values_from_text(_decode(content, relative), relative)
        return values


def list_files(folder: Path, suffixes: Collection[str] = _SUFFIXES) -> Iterator[str]:
    """Files with these endings, relative to the folder, with "/"; hidden ones and links are left out. Raises WildcardFileError."""
    count = 0
    for here, below, names in os.walk(folder, onerror=_raise_unless_missing):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            if name.startswith(".") or os.path.splitext(name)[1] not in suffixes:
                continue
            count += 1
            if count > MAX_FILES:
                raise WildcardFileError(f"the folder {folder} has more than {MAX_FILES} files")
            path = Path(here, name)
            relative = path.relative_to(folder).as_posix()
            is_utf8 = relative.isascii() or relative.encode("utf-8", "replace") == os.fsencode(relative)
            if is_utf8 and path.is_file() and not path.is_symlink():
                yield relative


def _raise_unless_missing(error: OSError) -> None:
    raise_if_transient(error)
    if not isinstance(error, FileNotFoundError):
        raise WildcardFileError(f"the folder {error.filename} cannot be read: {error.strerror or error}") from None


def read_bounded_file(path: Path, relative: str, max_bytes: int) -> bytes:
    """The content of a regular file. Raises WildcardFileError, which names it `relative`, and OSError where the disk is at fault."""
    try:
        with open_regular(os.fsencode(path)) as file:
            content = file.read(max_bytes + 1)
    except NotRegularFile as error:
        raise WildcardFileError(str(error)) from None
    except OSError as error:
        if is_transient_os_error(error):
            raise
        raise WildcardFileError(
            f"{display(os.fsencode(relative))}: cannot be read: {error.strerror or error}"
        ) from None
    if len(content) > max_bytes:
        raise WildcardFileError(f"{relative}: the file has more than {max_bytes} bytes; split it")
    return content


def _decode(content: bytes, relative: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WildcardFileError(f"{relative}, line {line}: the file is not UTF-8; save it as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise WildcardFileError(f"{relative}, line {line}: the character U+0000 cannot be used; save the file as UTF-8")
    return text


def _parse(content: bytes, relative: str) -> Any:
    if relative.endswith(".json"):
        try:
            return json.loads(_decode(content, relative))
        except RecursionError:
            raise WildcardFileError(f"{relative}: the file is nested too deep") from None
        except ValueError as error:
            raise WildcardFileError(f"{relative}: this is not JSON: {error}") from None
    try:
        data = yaml_guard.parse_yaml(content, WILDCARD_FILE_LIMITS).data
    except JobRefused as refused:
        raise WildcardFileError(f"{relative}, {refused}") from None
    return data[""] if list(data) == [""] else data
