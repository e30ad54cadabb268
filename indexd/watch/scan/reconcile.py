"""The scan: a folder tree compared with what is known of it, in slices, near the speed of a bare directory walk."""

from __future__ import annotations

import itertools
import logging
import os
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from indexd.errors import is_out_of_handles
from indexd.fs.file_stamp import FileStamp, is_relocated
from indexd.fs.paths import absolute, display
from indexd.watch.scan.index_snapshot import IndexSnapshot, StampTuple
from indexd.watch.sidecar_names import is_sidecar
from indexd.watch.watch_filter import WatchFilter

log = logging.getLogger(__name__)

# So many directory entries are compared before the caller gets a turn: some 5 ms.
SLICE_ENTRIES = 2000
# A folder that changed so recently may change again without a new time, so its time is not trusted.
_RACY_NS = 2_000_000_000
_REPARSE_POINT = 0x400
LISTING_HAS_INODES = os.name != "nt"
"""Windows gives 0 for the inode of a listed entry; see `os.DirEntry.stat` in the documentation of Python."""
# Sidecar files that one pass remembers; those beyond are noticed when they change.
SIDECARS_MAX = 100_000
# The time of a folder that the next sweep must list again; no real folder has it.
UNTRUSTED_MTIME = -1


class ChangedFile(NamedTuple):
    """A file whose stamp is not indexed. `is_new`: its path is not indexed; `is_relocated`: only its inode is not."""

    rel: bytes
    stamp: FileStamp
    is_new: bool
    is_relocated: bool = False


ChangedFiles = list[ChangedFile]


@dataclass(slots=True)
class ReconcileReport:
    """Counts of one scan."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    folders: int = 0
    gone: int = 0
    seconds: float = 0.0
    unreadable: list[bytes] = field(default_factory=list)

    @property
    def present(self) -> int:
        """Indexed files that were seen."""
        return self.unchanged + self.changed


class TreeComparison:
    """One pass over the folder `under` of a root. `known` is consumed: what is left at the end was not seen.

    Only real folders are entered (no links, no junctions), and only regular files that the watch filter includes are
    found; an indexed file is compared in any case. `folder_times` maps each folder to its mtime in ns, taken before its
    names were read, so that a later change is always seen. `iter_changes` raises OSError where no file handle is left.
    `sidecars` are sidecar files with their mtime in ns.
    """

    def __init__(
        self,
        root: bytes,
        known: IndexSnapshot,
        watch_filter: WatchFilter,
        *,
        under: bytes = b"",
        stable_inodes: bool = True,
        known_folders: Collection[bytes] | None = None,
    ) -> None:
        """With `known_folders`, only `under` itself is compared, and those of its folders that are not among them."""
        self._root = root
        self._known = known
        self._watch_filter = watch_filter
        self._under = under
        self._stable_inodes = stable_inodes
        self._known_folders = known_folders
        self._skipped_folders: set[bytes] = set()
        self.report = ReconcileReport()
        self.sidecars: list[tuple[bytes, int]] = []
        self.folder_times: dict[bytes, int] = {}

    def iter_changes(self) -> Iterator[ChangedFiles]:
        """New and changed files, a slice at a time; a slice may be empty."""
        started = time.perf_counter()
        folders = [self._under]
        found: ChangedFiles = []
        entries_left = SLICE_ENTRIES
        while folders:
            folder = folders.pop()
            prefix = folder + b"/" if folder else b""
            here = self._known.enter_folder(prefix)
            for entries in self._list_folder(folder):
                try:
                    entries_left -= self._compare_entries(prefix, here, entries, folders, found)
                except OSError as error:
                    # The listing broke off, so the files that were not listed are unknown.
                    self._mark_unreadable(folder, error)
                    break
                if entries_left <= 0:
                    yield found
                    found, entries_left = [], SLICE_ENTRIES
        self.report.seconds = time.perf_counter() - started
        yield found

    def iter_unseen(self) -> Iterator[bytes]:
        """After `iter_changes`: indexed files that the pass did not see. They are candidates; `is_gone` decides."""
        unreadable = tuple(folder + b"/" if folder else b"" for folder in self.report.unreadable)
        start = len(self._under) + 1 if self._under else 0
        for rel, _ in self._known.remaining():
            if unreadable and rel.startswith(unreadable):
                continue
            if (
                self._skipped_folders
                and rel[start:].partition(b"/")[0] in self._skipped_folders
                and b"/" in rel[start:]
            ):
                continue
            yield rel

    def _list_folder(self, folder: bytes) -> Iterator[Iterator[os.DirEntry[bytes]]]:
        """The folder's entries in slices; each must be used up before the next is taken."""
        path = absolute(self._root, folder)
        try:
            time_before = os.stat(path).st_mtime_ns
            with os.scandir(path) as entries:
                self.report.folders += 1
                racy = time.time_ns() - time_before < _RACY_NS
                self.folder_times[folder] = UNTRUSTED_MTIME if racy else time_before
                for first in entries:
                    yield itertools.chain((first,), itertools.islice(entries, SLICE_ENTRIES - 1))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            # The files below are unknown, so none of them counts as gone.
            self._mark_unreadable(folder, error)

    def _mark_unreadable(self, folder: bytes, error: OSError) -> None:
        """Have the next sweep list it again. Raises the error where the process has no handles left: the scan starts anew."""
        if is_out_of_handles(error):
            raise error
        self.report.unreadable.append(folder)
        self.folder_times[folder] = UNTRUSTED_MTIME

    def _compare_entries(
        self,
        prefix: bytes,
        here: dict[bytes, StampTuple],
        entries: Iterator[os.DirEntry[bytes]],
        folders: list[bytes],
        found: ChangedFiles,
    ) -> int:
        """Compare the entries; returns their count. The hot loop of a scan: one lookup and one stat for each file."""
        take, inodes, unchanged, others = here.pop, self._stable_inodes, 0, 0
        are_listed = inodes and LISTING_HAS_INODES
        for entry in entries:
            name = entry.name
            old = take(name, None)
            try:
                if old is not None:
                    now = entry.stat(follow_symlinks=False)
                    inode = now.st_ino if are_listed else old[2] if inodes else 0
                    if (now.st_size, now.st_mtime_ns, inode) == old:
                        unchanged += 1
                        continue
                    now = _full_stat(entry)
                others += 1
                rel = prefix + name
                if old is None:
                    self._handle_unknown_entry(entry, rel, folders, found)
                elif not stat.S_ISREG(now.st_mode):
                    here[name] = old
                elif old in self._recorded_stamps(now):
                    unchanged += 1
                    others -= 1
                elif self._watch_filter.includes_path(rel):
                    stamp = FileStamp.from_stat(now, stable_inodes=inodes)
                    relocated = is_relocated(FileStamp(*old), stamp)
                    self.report.changed += not relocated
                    unchanged += relocated
                    others -= relocated
                    found.append(ChangedFile(rel, stamp, is_new=False, is_relocated=relocated))
            except OSError:
                # Vanished since it was listed, or unreadable: an event or the next scan reports it.
                continue
            except Exception:
                # Nothing about one file may end a scan.
                log.exception("skipping %s: a bug while comparing it", display(absolute(self._root, prefix + name)))
        self.report.unchanged += unchanged
        return unchanged + others

    def _recorded_stamps(self, now: os.stat_result) -> tuple[FileStamp, FileStamp]:
        """The stamps under which this unchanged file may be recorded although the raw numbers differ."""
        return (
            FileStamp.from_stat(now, stable_inodes=self._stable_inodes),
            FileStamp.of_unreadable(now, stable_inodes=self._stable_inodes),
        )

    def _handle_unknown_entry(
        self, entry: os.DirEntry[bytes], rel: bytes, folders: list[bytes], found: ChangedFiles
    ) -> None:
        if entry.is_dir(follow_symlinks=False):
            if self._known_folders is not None and rel in self._known_folders:
                self._skipped_folders.add(entry.name)
            elif self._watch_filter.includes_folder(rel, entry.name) and not _is_junction(entry):
                folders.append(rel)
        elif self._watch_filter.includes_file(rel, entry.name) and entry.is_file(follow_symlinks=False):
            self.report.new += 1
            found.append(
                ChangedFile(
                    rel,
                    FileStamp.from_stat(_full_stat(entry), stable_inodes=self._stable_inodes),
                    is_new=True,
                )
            )
        elif len(self.sidecars) < SIDECARS_MAX and is_sidecar(entry.name) and entry.is_file(follow_symlinks=False):
            self.sidecars.append((rel, entry.stat(follow_symlinks=False).st_mtime_ns))


def _full_stat(entry: os.DirEntry[bytes]) -> os.stat_result:
    """The entry's stat with its inode, which Windows does not tell in a listing."""
    return entry.stat(follow_symlinks=False) if LISTING_HAS_INODES else os.lstat(entry.path)


def _is_junction(entry: os.DirEntry[bytes]) -> bool:
    """Windows reports a junction as a folder; following it may lead in a circle."""
    if os.name != "nt":
        return False
    attributes: int = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & _REPARSE_POINT)


def is_gone(path: bytes) -> bool:
    """Whether there is certainly no regular file of that name; False where an error leaves it open."""
    try:
        return not stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def iter_changed_folders(root: bytes, folder_times: dict[bytes, int]) -> Iterator[list[bytes]]:
    """The cheap pass: folders in which a name was added, removed or renamed since their time was taken, in slices.

    Forgets folders that are gone: the folder they lay in has changed too.
    """
    folders = iter(list(folder_times.items()))
    while batch := list(itertools.islice(folders, SLICE_ENTRIES)):
        changed = []
        for rel, known_time in batch:
            try:
                if os.stat(absolute(root, rel)).st_mtime_ns != known_time:
                    changed.append(rel)
            except (FileNotFoundError, NotADirectoryError):
                folder_times.pop(rel, None)
            except OSError:
                continue
        yield changed
