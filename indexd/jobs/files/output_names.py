"""Folders and names of the files of a job: decided once, at admission, and stored in the ledger.

A name never leaves its folder and can be written on every system: reserved names of Windows, signs it forbids, control
and direction signs, leading dots (the watcher ignores hidden files) and names over the length of a directory entry are
all turned into something harmless.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PureWindowsPath

from indexd.fs.paths import is_inside, is_unc, is_url
from indexd.jobs.parsing.validation import FieldError, closest_names
from indexd_schemas.validation_messages import quote_value

PLACEHOLDERS = ("name", "index", "seed", "date", "time", "kind", "model", "prompt")
UNIQUE_PLACEHOLDERS = ("index", "seed")
# eCryptfs takes 143 bytes; the rest is room for a number and the ending.
MAX_NAME_BYTES = 120

# Controls, direction signs and separators: what is not seen in a name and changes how it is shown.
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)", re.IGNORECASE)
_NAME_FIELD = ("output", "name")
_FOLDER_FIELD = ("output", "folder")


def safe_name(text: str, limit_bytes: int = MAX_NAME_BYTES) -> str:
    """`text` as one part of a path that every system takes; never empty, never `.` or `..`."""
    plain = unicodedata.normalize("NFC", text)
    plain = "".join("_" if unicodedata.category(sign) in INVISIBLE_CATEGORIES else sign for sign in plain)
    plain = _FORBIDDEN.sub("_", plain)
    plain = plain.encode("utf-8")[:limit_bytes].decode("utf-8", "ignore").strip(" ").rstrip(". ")
    if plain.startswith(".") or _RESERVED.fullmatch(plain.split(".")[0].rstrip(" ")):
        plain = f"_{plain}"
    return plain or "_"


def check_pattern(pattern: str, names: Collection[str] = ()) -> None:
    """Raise FieldError when a name pattern cannot be used. `names` are placeholders that the items of the job add."""
    known = dict.fromkeys((*PLACEHOLDERS, *sorted(names)))
    if "/" in pattern or "\\" in pattern:
        raise FieldError(_NAME_FIELD, "output.name: a name holds no folder; put that into output.folder")
    for word in _PLACEHOLDER.findall(pattern):
        if word not in known:
            close = closest_names(word, known, 1)
            hint = f"did you mean {{{close[0]}}}?" if close else f"there are {', '.join(known)}"
            raise FieldError(_NAME_FIELD, f"output.name: there is no {{{word[:40]}}}; {hint}")
    if "{" in (rest := _PLACEHOLDER.sub("", pattern)) or "}" in rest:
        raise FieldError(_NAME_FIELD, "output.name: contains a single { or }; write a placeholder as {seed}")


def complete_pattern(pattern: str, count: int) -> str:
    """The pattern with `-{index}` added where several images would get the same name; an empty one is `{name}-{index}`."""
    if not pattern:
        return "{name}-{index}"
    if count > 1 and not any(f"{{{word}}}" in pattern for word in UNIQUE_PLACEHOLDERS):
        return pattern + "-{index}"
    return pattern


def placeholder_values(
    name_values: Mapping[str, str], index: int, count: int, shared: Mapping[str, str]
) -> dict[str, str]:
    """The values of the placeholders of a name pattern for item `index`; those that it has no value for are empty."""
    digits = max(4, len(str(count)))
    return {**dict.fromkeys(PLACEHOLDERS, ""), **shared, "index": f"{index + 1:0{digits}d}", **name_values}


def unique_file_names(
    pattern: str, values_per_item: Sequence[Mapping[str, str]], suffixes: Sequence[str], taken: Callable[[str], bool]
) -> list[str]:
    """One file name an item, all different, none taken; letter case makes no difference (macOS, Windows).

    `values_per_item[i]` are the values of the placeholders for item i, and `suffixes[i]` ends its name; `taken` is called
    with the casefolded name.
    """
    used: set[str] = set()
    names = []
    for values, suffix in zip(values_per_item, suffixes, strict=True):
        stem = safe_name(_PLACEHOLDER.sub(lambda match, values=values: values.get(match[1], ""), pattern))  # type: ignore[misc]
        name = free_file_name(stem, suffix, lambda key: key in used or taken(key))
        used.add(name.casefold())
        names.append(name)
    return names


def free_file_name(stem: str, suffix: str, taken: Callable[[str], bool]) -> str:
    """The stem with the suffix, or the first of `stem-2`, `stem-3`, … with it, that is not taken."""
    name, number = f"{stem}{suffix}", 1
    while taken(name.casefold()):
        number += 1
        name = f"{stem}-{number}{suffix}"
    return name


def resolve_output_folder(text: str, default: Path) -> Path:
    """The absolute path of `output.folder`. Raises FieldError.

    Relative folders lie inside `default` and are made when they are needed; an absolute one, or one that begins with
    `~`, must be there already, or its parent must be: so a typing error or an unmounted disk grows no tree of its own.
    """
    if not text.strip():
        return default
    if is_url(text) or (os.name != "nt" and is_unc(text)):
        raise FieldError(_FOLDER_FIELD, f"output.folder: {quote_value(text)} is no folder of this machine")
    folder = Path(os.path.expanduser(text))
    if ".." in re.split(r"[/\\]", text):
        raise FieldError(_FOLDER_FIELD, f"output.folder: `..` is not used in folders (got {quote_value(text)})")
    if not folder.is_absolute():
        folder = default.joinpath(*_relative_parts(text))
        if not is_inside(default, folder):
            raise FieldError(
                _FOLDER_FIELD,
                f"output.folder: {quote_value(text)} leads out of {default} by a link; name the folder by its whole path",
            )
        return folder
    if os.name == "nt" and (problem := windows_name_problem(str(folder))) is not None:
        raise FieldError(_FOLDER_FIELD, f"output.folder: {problem}")
    if folder.is_dir():
        return folder
    if folder.exists():
        raise FieldError(_FOLDER_FIELD, f"output.folder: {folder} is a file; name a folder")
    if not folder.parent.is_dir():
        raise FieldError(_FOLDER_FIELD, f"output.folder: neither {folder} nor {folder.parent} exists; make it first")
    return folder


def windows_name_problem(folder: str) -> str | None:
    """Why Windows would write elsewhere than an absolute folder says; None = it would not.

    A colon names a hidden stream of a file, CON and its like are devices in every folder, dots and spaces at an end are
    dropped without a word, and `\\\\.\\` and `\\\\?\\` lead past all rules.
    """
    path = PureWindowsPath(folder)
    if path.drive.startswith(("\\\\.\\", "\\\\?\\")):
        return f"{quote_value(folder)} names a device; write the folder as C:\\… or \\\\server\\share\\…"
    for part in path.parts[1:]:
        if safe_name(part) != part and not part.startswith("."):
            return f"{quote_value(part)} is no good name for a folder on Windows; {quote_value(safe_name(part))} is"
    return None


def _relative_parts(text: str) -> list[str]:
    if text.startswith("~") or Path(text).drive or re.match(r"[a-zA-Z]:", text):
        raise FieldError(_FOLDER_FIELD, f"output.folder: there is no folder {quote_value(text)} on this system")
    parts = [part for part in re.split(r"[/\\]", text) if part not in ("", ".")]
    for part in parts:
        if safe_name(part) != part:
            raise FieldError(
                _FOLDER_FIELD,
                f"output.folder: {quote_value(part)} is no good name for a folder; {quote_value(safe_name(part))} is",
            )
    return parts
