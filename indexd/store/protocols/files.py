"""Repositories of watched folders and the files in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from indexd.store.records import FileRow, ForgetResult, OverwrittenFile, RelocationResult, RootRow
from indexd.watch.indexed_files import IndexedFiles


class RootRepository(Protocol):
    """Watched folders, by id."""

    def ensure(self, path: bytes, purpose: str, folder_tags: bool | None = None) -> RootRow:
        """The row of the folder `path` (absolute), created if there is none; `purpose` is "images" or "jobs".

        `folder_tags`: whether the names of folders below it count as tags; None keeps the stored value. A change updates
        the folder tags of all its images.
        """
        ...

    def all(self) -> list[RootRow]:
        """Every root, in the order of creation."""
        ...

    def set_state(
        self,
        root_id: int,
        *,
        online: bool,
        identity: str | None,
        mode: str,
        reason: str,
        foreign_root: tuple[str, int] | None = None,
    ) -> None:
        """Store how a root is watched, whether it is there, and which foreign folder holds its place."""
        ...


class FileRepository(IndexedFiles, Protocol):
    """Files by root and relative path (bytes with `/`). The row of a deleted file is marked missing and stays."""

    def counts(self) -> tuple[int, int]:
        """How many files are present (unreadable ones included), and how many are missing."""
        ...

    def overwritten(self, ids: Iterable[int]) -> dict[int, OverwrittenFile]:
        """For each of these images whose file was overwritten, the latest such file."""
        ...

    def find(self, path: bytes) -> FileRow | None:
        """The row of an absolute path, from the innermost root that has one."""
        ...


class RelocationRepository(Protocol):
    """Changes the stored paths of moved folders. It touches no file."""

    def relocate(self, old: bytes, new: bytes, keep_roots: Sequence[int], *, dry_run: bool = False) -> RelocationResult:
        """Change every path below `old` to one below `new` (absolute paths). `keep_roots` are watched now: their rows stay.

        A root that moved as a whole is renamed, or becomes part of the root that contains the new path. Raises UsageError
        if the index has nothing below `old`, or if part of a root would move to a path that is in no root.
        """
        ...

    def assign_to_innermost_roots(self, watched: Mapping[int, bytes]) -> RelocationResult:
        """Assign each file to the innermost watched folder that contains it (`watched`: id -> path)."""
        ...


class ForgetRepository(Protocol):
    """Finds missing files and images without a file, and deletes their rows. Nothing else deletes images."""

    def missing_files(self, before: float, roots: Iterable[int] = ()) -> Iterator[FileRow]:
        """The files that have been missing since before that time (epoch), and every file of `roots`."""
        ...

    def without_files(self, before: float) -> list[int]:
        """Images that were indexed before that time (epoch) and have no file row, because their file was overwritten."""
        ...

    def orphaned_by(self, file_ids: Iterable[int]) -> list[int]:
        """The images that would have no file without these."""
        ...

    def count_annotated(self, ids: Iterable[int]) -> int:
        """How many of these images are annotated."""
        ...

    def forget(
        self, files: Iterable[FileRow], images: Iterable[int], *, with_annotations: bool = False
    ) -> ForgetResult:
        """Delete these files, then those of `images` that have no file. A file that came back meanwhile stays.

        The annotations of a deleted image become pending, unless `with_annotations` deletes them too.
        """
        ...
