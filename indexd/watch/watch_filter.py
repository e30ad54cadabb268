"""Which names of a watched folder count: built-in ignores, the user's, include and exclude globs, the inbox rule."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence

from indexd_schemas.settings import RootSettings, WatchSettings

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
IGNORED_PREFIXES = (b".", b"~$")
# Endings of what is still being written or downloaded.
IGNORED_SUFFIXES = (
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
JOB_SUFFIXES = (b".yaml", b".yml", b".json", b".yaml.txt", b".yml.txt")
"""Windows editors add `.txt` to a name, and do not show it."""
IMAGE_SUFFIXES = (
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


VIDEO_SUFFIXES = (b".mp4", b".webm", b".mov", b".mkv")
"""Watched where `[watch] videos` is on."""
SHEET_NAME = re.compile(rb"\.sheet(?:-\d+)?\.png$")
"""The sheet of a series is like every image on it, so it would fill the results of searches."""


def has_image_suffix(name: bytes) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


class WatchFilter:
    """Decides by name alone whether a file is watched and whether a folder is entered.

    Globs are relative to the root with `/`: `*` and `?` stay within a name, `**` crosses folders, `[a-z]` is a choice.
    A glob without `/` means the name at any depth. `ignore` holds names or globs that count everywhere. Letter case
    counts for globs except on Windows, never for the built-in names. Only names that end as pictures do count; with
    `purpose` "jobs" only job files (JOB_SUFFIXES) directly inside the root. `inner` are folders below the root that are watched
    by themselves: what lies there is theirs. `videos` lets VIDEO_SUFFIXES through as well.
    """

    def __init__(
        self,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        ignore: Sequence[str] = (),
        purpose: str = "images",
        nested_roots: Iterable[bytes] = (),
        videos: bool = False,
    ) -> None:
        self._include = _compile_globs(include)
        self._exclude = _compile_globs((*exclude, *ignore))
        self._jobs = purpose == "jobs"
        self._suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) if videos else IMAGE_SUFFIXES
        self._nested_roots = frozenset(nested_roots)

    @classmethod
    def from_settings(cls, root: RootSettings, watch: WatchSettings, nested_roots: Iterable[bytes] = ()) -> WatchFilter:
        """The selection that the settings ask for one folder of pictures."""
        return cls(root.include, root.exclude, watch.ignore, nested_roots=nested_roots, videos=watch.videos)

    def includes_file(self, rel: bytes, name: bytes) -> bool:
        """Whether the file counts; the folders above it are taken to be entered."""
        return self._file_exclusion_reason(rel, name) is None

    def includes_folder(self, rel: bytes, name: bytes) -> bool:
        """Whether the folder is entered; the folders above it are taken to be entered."""
        return self._folder_exclusion_reason(rel, name) is None

    def includes_path(self, rel: bytes) -> bool:
        """Whether the file counts, every folder above it included."""
        return self.exclusion_reason(rel) is None

    def enters(self, rel: bytes) -> bool:
        """Whether the folder is entered, every folder above it included."""
        return self._excluded_folder_reason(rel.split(b"/")) is None

    def exclusion_reason(self, rel: bytes) -> str | None:
        """The sentence that `explain` shows for a file that is left out, or None where it counts."""
        parts = rel.split(b"/")
        return self._excluded_folder_reason(parts[:-1]) or self._file_exclusion_reason(rel, parts[-1])

    def _excluded_folder_reason(self, parts: Sequence[bytes]) -> str | None:
        for depth in range(1, len(parts) + 1):
            problem = self._folder_exclusion_reason(b"/".join(parts[:depth]), parts[depth - 1])
            if problem is not None:
                return problem
        return None

    def _folder_exclusion_reason(self, rel: bytes, name: bytes) -> str | None:
        if self._jobs:
            return "only files directly inside the inbox are job files"
        if _is_always_ignored(name):
            return f"the folder name {_display_name(name)} is ignored everywhere"
        if rel in self._nested_roots:
            return f"the folder {_display_name(rel)} is watched by itself"
        if self._exclude and (self._exclude.match(rel) or self._exclude.match(rel + b"/")):
            return f"the folder {_display_name(rel)} is excluded by the settings"
        return None

    def _file_exclusion_reason(self, rel: bytes, name: bytes) -> str | None:
        if _is_always_ignored(name):
            return f"the name {_display_name(name)} is ignored everywhere (hidden, temporary or a system's own)"
        if self._jobs:
            return None if name.lower().endswith(JOB_SUFFIXES) else "job files end in .yaml, .yml or .json"
        if not name.lower().endswith(self._suffixes):
            if name.lower().endswith(VIDEO_SUFFIXES):
                return "it is a video; [watch] videos = true indexes its metadata and its first frame"
            return f"its name has no image suffix; supported: {_display_name(b' '.join(IMAGE_SUFFIXES))}"
        if SHEET_NAME.search(name.lower()):
            return "it is the sheet of a series (.sheet.png), which shows images that are indexed themselves"
        if self._exclude and self._exclude.match(rel):
            return "it is excluded by the settings"
        if self._include and not self._include.match(rel):
            return "no include pattern of its folder matches it"
        return None


def _is_always_ignored(name: bytes) -> bool:
    low = name.lower()
    return low.startswith(IGNORED_PREFIXES) or low.endswith(IGNORED_SUFFIXES) or low in IGNORED_NAMES


def _display_name(name: bytes) -> str:
    return os.fsdecode(name).encode("utf-8", "replace").decode()


def _compile_globs(globs: Iterable[str]) -> re.Pattern[bytes] | None:
    patterns = [_glob_to_regex(glob) for glob in globs if glob.strip("/")]
    if not patterns:
        return None
    case = re.IGNORECASE if os.name == "nt" else 0
    return re.compile(b"(?s:" + b"|".join(patterns) + rb")\Z", case)


def _glob_to_regex(glob: str) -> bytes:
    glob = glob.replace("\\", "/") if os.name == "nt" else glob
    anywhere = "/" not in glob.rstrip("/")
    text = glob.strip("/")
    if text.startswith("./"):
        text = text[2:]
    inner = b"".join(
        _glob_token_to_regex(piece) for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[[^]/]+\]|.", text, re.DOTALL)
    )
    return b"(?:" + (b"(?:.*/)?" if anywhere else b"") + inner + b")"


def _glob_token_to_regex(piece: str) -> bytes:
    wild = {"**/": b"(?:.*/)?", "**": b".*", "*": b"[^/]*", "?": b"[^/]"}
    if piece in wild:
        return wild[piece]
    if len(piece) > 2 and piece[0] == "[":
        # fnmatch knows the rules of a choice ("!" negates, a backslash is plain); its frame is cut off.
        translated = fnmatch.translate(piece).removeprefix("(?s:")
        return os.fsencode(translated[: translated.rindex(")")])
    return re.escape(os.fsencode(piece))
