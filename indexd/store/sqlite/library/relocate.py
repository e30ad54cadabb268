"""A whole tree under another path: rows are rewritten, no file is read, and neither place need be there.

A tree moved to another disk has other inodes, so they are blanked: the next scan takes a file of the same size and time
for the one that was meant, and asks no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from indexd.errors import UsageError
from indexd.fs.paths import display
from indexd.store.path_prefix import join_path, relative_to
from indexd.store.protocols.files import RelocationRepository
from indexd.store.records import RelocationResult
from indexd.store.sqlite.adapters import searchable_path
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.fulltext import refresh_fulltext


@dataclass(frozen=True, slots=True)
class _Root:
    id: int
    path: bytes


class Relocation(RelocationRepository):
    """Moves what the index knows; files are not touched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def relocate(self, old: bytes, new: bytes, keep_roots: Sequence[int], *, dry_run: bool = False) -> RelocationResult:
        done = RelocationResult()
        try:
            with self._database.write(durable=True) as connection:
                rows = connection.execute("SELECT id, path FROM root WHERE purpose = 'images'").fetchall()
                roots = [_Root(*row) for row in rows]
                for root in roots:
                    _relocate(connection, root, roots, old, new, keep_roots, done)
                if not done.roots and not done.files and not done.dropped:
                    raise UsageError(f"the index knows nothing under {display(old)}")
                if dry_run:
                    raise _DryRunRollback
        except _DryRunRollback:
            pass
        return done

    def assign_to_innermost_roots(self, watched: Mapping[int, bytes]) -> RelocationResult:
        done = RelocationResult()
        with self._database.write() as connection:
            rows = connection.execute("SELECT id, path FROM root WHERE purpose = 'images'").fetchall()
            # From the outside in: what passes on to a folder may pass on to one within it.
            roots = sorted((_Root(*row) for row in rows), key=lambda root: len(root.path))
            inside = sorted((_Root(*item) for item in watched.items()), key=lambda root: len(root.path))
            for root in roots:
                if root.id not in watched and (holder := _innermost_root(root.path, inside, without=None)) is not None:
                    prefix = relative_to(root.path, holder.path) or b""
                    _reassign(connection, (root.id, b""), (holder.id, prefix), done)
                for other in inside:
                    if other.id != root.id and (rel := relative_to(other.path, root.path)):
                        _reassign(connection, (root.id, rel), (other.id, b""), done)
        return done


class _DryRunRollback(Exception):
    """Rolls a dry run back; never leaves this module."""


def _relocate(
    connection: Connection,
    root: _Root,
    roots: Sequence[_Root],
    old: bytes,
    new: bytes,
    keep_roots: Sequence[int],
    done: RelocationResult,
) -> None:
    rest = relative_to(root.path, old)
    whole = rest is not None
    inner = b"" if whole else relative_to(old, root.path)
    if inner is None:
        return
    target_path = join_path(new, rest or b"")
    if whole and target_path == root.path:
        return
    target = _innermost_root(target_path, roots, without=root if whole else None)
    if target is None:
        if not whole:
            raise UsageError(
                f"{display(target_path)} is in no watched folder; add it as [[roots]] to the settings, start"
                " the daemon once, and repeat the command"
            )
        # Watched folders are known by their number while the daemon runs: what is watched keeps its row.
        if root.id not in keep_roots:
            done.files += _rename(connection, root, target_path)
            done.roots.append((root.path, target_path))
            return
        connection.execute("INSERT INTO root (path, purpose) VALUES (?, 'images')", (target_path,))
        target = _Root(connection.last_insert_rowid(), target_path)
    if whole:
        done.roots.append((root.path, target_path))
        connection.execute(
            "UPDATE root SET folder_tags = max(folder_tags, (SELECT folder_tags FROM root WHERE id = ?)) WHERE id = ?"
            " AND NOT EXISTS (SELECT 1 FROM file WHERE root_id = root.id)",
            (root.id, target.id),
        )
    prefix = relative_to(target_path, target.path) or b""
    _move_rows(connection, (root.id, inner), (target.id, prefix), done)
    if whole and root.id not in keep_roots:
        connection.execute(
            "DELETE FROM root WHERE id = ? AND NOT EXISTS (SELECT 1 FROM file WHERE root_id = root.id)", (root.id,)
        )


def _innermost_root(path: bytes, roots: Sequence[_Root], without: _Root | None) -> _Root | None:
    """The innermost root that holds the path."""
    holding = [root for root in roots if root is not without and relative_to(path, root.path) is not None]
    return max(holding, key=lambda root: len(root.path), default=None)


def _rename(connection: Connection, root: _Root, path: bytes) -> int:
    connection.execute(
        "UPDATE root SET path = ?, identity = NULL, online = 0, reason = 'relocated, not looked at yet' WHERE id = ?",
        (path, root.id),
    )
    connection.execute("UPDATE file SET inode = 0 WHERE root_id = ?", (root.id,))
    return connection.changes()


def _reassign(
    connection: Connection, source: tuple[int, bytes], target: tuple[int, bytes], done: RelocationResult
) -> None:
    root_id, inner = source
    start = inner + b"/" if inner else b""
    held = connection.execute(
        "SELECT 1 FROM file WHERE root_id = ? AND rel >= ? AND (? = x'' OR rel < ?) LIMIT 1",
        (root_id, start, inner, inner + b"0"),
    ).fetchone()
    if held is not None:
        _move_rows(connection, source, target, done)


def _move_rows(
    connection: Connection, source: tuple[int, bytes], target: tuple[int, bytes], done: RelocationResult
) -> None:
    root_id, inner = source
    target_id, prefix = target
    rows = connection.execute("SELECT id, rel, image_id FROM file WHERE root_id = ?", (root_id,)).fetchall()
    start = inner + b"/" if inner else b""
    moving = [(file_id, rel[len(start) :], image_id) for file_id, rel, image_id in rows if rel.startswith(start)]
    if root_id == target_id:
        # Out of the way first: `a` to `a/b` would meet what lies in `a/b` and has not moved on yet.
        aside = [(b"\0" + rest, file_id) for file_id, rest, _ in moving]
        connection.executemany("UPDATE file SET rel = ? WHERE id = ?", aside)
    images: set[int] = set()
    for file_id, rest, image_id in moving:
        rel = prefix + b"/" + rest if prefix else rest
        # What is known to be there now knows better; what was missed there makes room.
        connection.execute(
            "DELETE FROM file WHERE root_id = ? AND rel = ? AND missing_since IS NOT NULL AND id <> ?",
            (target_id, rel, file_id),
        )
        connection.execute(
            "UPDATE OR IGNORE file SET root_id = ?, rel = ?, display = ?, inode = 0 WHERE id = ?",
            (target_id, rel, searchable_path(rel), file_id),
        )
        if connection.changes():
            done.files += 1
        else:
            connection.execute("DELETE FROM file WHERE id = ?", (file_id,))
            done.dropped += 1
        if image_id is not None:
            images.add(image_id)
    refresh_fulltext(connection, images)
