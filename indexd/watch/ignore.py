"""Which names of a watched folder count: built-in ignores, the user's, include and exclude globs, the inbox rule."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence

from indexd_schemas.settings import Root, Watch

# Names of folders and files that programs make for themselves; compared in lower case.
IGNORED_NAMES = frozenset(
    {
        b"@eadir",
        b"#recycle",
        b"#snapshot",
        b"$recycle.bin",
        b"system volume information",
        b"lost+found",
        b"__macosx",
        b"__pycache__",
        b"thumbs.db",
        b"desktop.ini",
    }
)
# Hidden names (this covers .stfolder, .git, rsync's .name.XXXX and .~lock), and Office's lock files.
IGNORED_STARTS = (b".", b"~$")
# Endings of what is still being written or downloaded.
IGNORED_ENDS = (
    b".tmp",
    b".temp",
    b".part",
    b".partial",
    b".filepart",
    b".crdownload",
    b".download",
    b".!sync",
    b".!ut",
    b".aria2",
    b".swp",
    b"~",
)
JOB_ENDS = (b".yaml", b".yml")
PICTURE_ENDS = (
    b".png",
    b".apng",
    b".jpg",
    b".jpeg",
    b".jpe",
    b".jfif",
    b".webp",
    b".avif",
    b".gif",
    b".bmp",
    b".tif",
    b".tiff",
)


class Selection:
    """Decides by name alone whether a file is watched and whether a folder is entered.

    Globs are relative to the root with `/`: `*` and `?` stay within a name, `**` crosses folders, `[a-z]` is a choice.
    A glob without `/` means the name at any depth. `ignore` holds names or globs that count everywhere. Letter case
    counts for globs except on Windows, never for the built-in names. Only names that end as pictures do count; with
    `purpose` "jobs" only `*.yaml` and `*.yml` directly inside the root. `inner` are folders below the root that are watched
    by themselves: what lies there is theirs.
    """

    def __init__(
        self,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        ignore: Sequence[str] = (),
        purpose: str = "images",
        inner: Iterable[bytes] = (),
    ) -> None:
        self._include = _any_of(include)
        self._exclude = _any_of((*exclude, *ignore))
        self._jobs = purpose == "jobs"
        self._inner = frozenset(inner)

    @classmethod
    def of(cls, root: Root, watch: Watch, inner: Iterable[bytes] = ()) -> Selection:
        """The selection that the settings ask for one folder of pictures."""
        return cls(root.include, root.exclude, watch.ignore, inner=inner)

    def file(self, rel: bytes, name: bytes) -> bool:
        """Whether the file counts; the folders above it are taken to be entered."""
        return self._file_problem(rel, name) is None

    def folder(self, rel: bytes, name: bytes) -> bool:
        """Whether the folder is entered; the folders above it are taken to be entered."""
        return self._folder_problem(rel, name) is None

    def wants(self, rel: bytes) -> bool:
        """Whether the file counts, every folder above it included."""
        return self.why_not(rel) is None

    def enters(self, rel: bytes) -> bool:
        """Whether the folder is entered, every folder above it included."""
        return self._closed_folder(rel.split(b"/")) is None

    def why_not(self, rel: bytes) -> str | None:
        """The sentence that `explain` shows for a file that is left out, or None where it counts."""
        parts = rel.split(b"/")
        return self._closed_folder(parts[:-1]) or self._file_problem(rel, parts[-1])

    def _closed_folder(self, parts: Sequence[bytes]) -> str | None:
        for depth in range(1, len(parts) + 1):
            problem = self._folder_problem(b"/".join(parts[:depth]), parts[depth - 1])
            if problem is not None:
                return problem
        return None

    def _folder_problem(self, rel: bytes, name: bytes) -> str | None:
        if self._jobs:
            return "only files directly inside the inbox are job files"
        if _built_in(name):
            return f"the folder name {_text(name)} is ignored everywhere"
        if rel in self._inner:
            return f"the folder {_text(rel)} is watched by itself"
        if self._exclude and (self._exclude.match(rel) or self._exclude.match(rel + b"/")):
            return f"the folder {_text(rel)} is excluded by the settings"
        return None

    def _file_problem(self, rel: bytes, name: bytes) -> str | None:
        if _built_in(name):
            return f"the name {_text(name)} is ignored everywhere (hidden, temporary or a system's own)"
        if self._jobs:
            return None if name.lower().endswith(JOB_ENDS) else "job files end in .yaml or .yml"
        if not name.lower().endswith(PICTURE_ENDS):
            return f"it is no picture by its name; those end in {_text(b' '.join(PICTURE_ENDS))}"
        if self._exclude and self._exclude.match(rel):
            return "it is excluded by the settings"
        if self._include and not self._include.match(rel):
            return "no include pattern of its folder matches it"
        return None


def _built_in(name: bytes) -> bool:
    low = name.lower()
    return low.startswith(IGNORED_STARTS) or low.endswith(IGNORED_ENDS) or low in IGNORED_NAMES


def _text(name: bytes) -> str:
    return os.fsdecode(name).encode("utf-8", "replace").decode()


def _any_of(globs: Iterable[str]) -> re.Pattern[bytes] | None:
    patterns = [_pattern(glob) for glob in globs if glob.strip("/")]
    if not patterns:
        return None
    case = re.IGNORECASE if os.name == "nt" else 0
    return re.compile(b"(?s:" + b"|".join(patterns) + rb")\Z", case)


def _pattern(glob: str) -> bytes:
    glob = glob.replace("\\", "/") if os.name == "nt" else glob
    anywhere = "/" not in glob.rstrip("/")
    text = glob.strip("/")
    if text.startswith("./"):
        text = text[2:]
    inner = b"".join(_piece(piece) for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[[^]/]+\]|.", text, re.DOTALL))
    return b"(?:" + (b"(?:.*/)?" if anywhere else b"") + inner + b")"


def _piece(piece: str) -> bytes:
    wild = {"**/": b"(?:.*/)?", "**": b".*", "*": b"[^/]*", "?": b"[^/]"}
    if piece in wild:
        return wild[piece]
    if len(piece) > 2 and piece[0] == "[":
        # fnmatch knows the rules of a choice ("!" negates, a backslash is plain); its frame is cut off.
        translated = fnmatch.translate(piece).removeprefix("(?s:")
        return os.fsencode(translated[: translated.rindex(")")])
    return re.escape(os.fsencode(piece))
