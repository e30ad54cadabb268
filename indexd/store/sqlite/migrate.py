"""Opens the index: creates it, migrates it after a copy, or refuses it with one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from indexd.errors import StorageFull, StoreError
from indexd.store.sqlite.database import Connection, Database, translate_errors
from indexd.store.sqlite.library.fulltext_refill import is_fulltext_current, refill_fulltext
from indexd.store.sqlite.network_fs import network_filesystem

APPLICATION_ID = int.from_bytes(b"idxd", "big")
_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema; `script` is SQL."""

    number: int
    script: str


def migrations() -> list[Migration]:
    """The steps shipped with this program: 1, 2, 3, … without a gap."""
    files = sorted(resources.files("indexd.store.sqlite").joinpath("schema").iterdir(), key=lambda file: file.name)
    steps = [
        Migration(int(match[1]), file.read_text("utf-8")) for file in files if (match := _NAME.fullmatch(file.name))
    ]
    if [step.number for step in steps] != list(range(1, len(steps) + 1)):
        raise AssertionError(f"schema files are not numbered 1..n: {[step.number for step in steps]}")
    return steps


def open_database(
    path: Path, *, read_only: bool = False, vfs: str | None = None, steps: Sequence[Migration] | None = None
) -> Database:
    """The index at `path` in the newest form. See `SqliteStore.open` for what is refused."""
    path = path.absolute()
    if read_only and not path.exists():
        raise StoreError(f"there is no index at {path} yet; start the daemon, or run `indexd scan --once`")
    if not read_only:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder of the index {path}: {error.strerror or error}") from None
        _refuse_network_filesystem(path)
    database = Database(path, read_only=read_only, vfs=vfs)
    try:
        if read_only:
            _require_current(database, steps or migrations())
            if steps is None:
                _require_current_fulltext(database)
        else:
            _migrate(database, steps or migrations())
            if steps is None:
                refill_fulltext(database)
    except BaseException:
        database.close()
        raise
    database.is_index = True
    return database


def _refuse_network_filesystem(path: Path) -> None:
    kind = network_filesystem(path.parent)
    if kind:
        raise StoreError(
            f"the index {path} would lie on a network file system ({kind}), where its locks cannot be trusted;"
            " set paths.index to a place on a local disk"
        )


def _require_current(database: Database, steps: Sequence[Migration]) -> None:
    with database.read() as connection:
        version = _checked_version(connection, database.path, len(steps))
    if version == 0:
        raise StoreError(f"the index {database.path} is empty; start the daemon, or run `indexd scan --once`")
    if version < len(steps):
        raise StoreError(
            f"the index {database.path} has the form of an older indexd; start the daemon once to bring it up to date"
        )


def _require_current_fulltext(database: Database) -> None:
    with database.read() as connection:
        if not is_fulltext_current(connection):
            raise StoreError(
                f"the full text of the index {database.path} is that of an older indexd; start the daemon once to bring it up to date"
            )


def _migrate(database: Database, steps: Sequence[Migration]) -> None:
    with database.outside_transaction() as connection:
        version = _checked_version(connection, database.path, len(steps))
        if 0 < version < len(steps):
            _copy_before_migration(connection, database.path, version)
        if connection.pragma("journal_mode") != "wal":
            connection.pragma("journal_mode", "wal")
    if version < len(steps):
        _apply(database, steps)


def _apply(database: Database, steps: Sequence[Migration]) -> None:
    """Apply the missing steps in one transaction: no other process sees an index between two of them."""
    with database.write(durable=True) as connection:
        # Another process may have done them while we waited for the lock.
        for step in steps[connection.pragma("user_version") :]:
            connection.execute(step.script).fetchall()
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", step.number)


def _checked_version(connection: Connection, path: Path, newest: int) -> int:
    """The version of the file, 0 when it is empty. Raises StoreError for a foreign or a newer file."""
    application = connection.pragma("application_id")
    version = int(connection.pragma("user_version"))
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchall() == [(0,)]
    if empty and application in (0, APPLICATION_ID):
        return 0
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path} is an SQLite file of another program, not an index of indexd; set paths.index to another place"
        )
    if version > newest:
        raise StoreError(
            f"the index {path} was made by a newer indexd (form {version}, this program knows {newest}); update indexd"
        )
    return version


def _copy_before_migration(connection: Connection, path: Path, version: int) -> None:
    """A whole copy beside the index, `<name>.v<version>.bak`; a plain file copy would miss what is still in the WAL."""
    copy = path.with_name(f"{path.name}.v{version}.bak")
    unfinished = copy.with_name(copy.name + ".part")
    unfinished.unlink(missing_ok=True)
    try:
        with translate_errors(unfinished):
            connection.execute("VACUUM INTO ?", (str(unfinished),)).fetchall()
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, copy)
    except StorageFull:
        unfinished.unlink(missing_ok=True)
        raise StorageFull(
            f"not enough disk space for {copy}, the copy made before the schema migration; free some space"
        ) from None
