"""Checks an index without changing it: pages, references, full text, vectors, job ledger, and indexed files."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import apsw
import numpy as np

from indexd.errors import IndexDamaged, NotRegularFile, StoreError
from indexd.fs.file_stamp import FileStamp
from indexd.fs.paths import absolute, display
from indexd.fs.safe_open import open_regular
from indexd.image_metadata.byte_source import hash_and_open
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.model import PARSER_VERSION
from indexd.store.records import VectorKey
from indexd.store.sqlite.database import BUSY_TIMEOUT_MS, Connection, suspect_marker, translate_errors
from indexd.store.sqlite.migrate import APPLICATION_ID, migrations
from indexd.store.sqlite.recovery.backup import load_vector_extension
from indexd.store.sqlite.table_kinds import FULLTEXT_TABLE, LEDGER_TABLES, USER_DATA_TABLES, non_derived_tables
from indexd.store.sqlite.vectors.revisions import vector_key
from indexd.vector_index.quantize import code_bytes

CheckState = Literal["ok", "warning", "failed"]

SAMPLE_FILES = 50
SAMPLE_FILES_FULL = 500
SAMPLE_VECTORS = 200
NAMED_FILES = 3
_REBUILD_ADVICE = "restart the daemon: it renames a damaged index and rebuilds it with all your annotations"
_RESCAN_ADVICE = "restart the daemon; `indexd scan` brings the index up to date"


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One line of `check`: the checked part, its state, and advice about a problem."""

    name: str
    state: CheckState
    detail: str
    advice: str | None = None


def check_index(
    index: Path, *, full: bool, on_step: Callable[[str], object] = lambda _: None
) -> Iterator[CheckFinding]:
    """Check the index at `index`, with or without a running daemon. Nothing is changed.

    Without `full`, annotations and the job ledger are read completely and the rest is sampled. With it, every page is
    read, every vector is counted, and more files are compared, by content.
    """
    checks: tuple[tuple[str, Callable[[Connection, bool], Iterator[CheckFinding]]], ...] = (
        ("schema", _check_schema_version),
        ("pages", _check_pages),
        ("references", _check_references),
        ("full text", _check_fulltext),
        ("vectors", _check_vectors),
        ("ledger", _check_ledger),
        ("metadata", _check_parser_versions),
        ("files", _check_files),
    )
    if not index.exists():
        raise StoreError(f"there is no index at {index}")
    try:
        with translate_errors(index), closing(_open_read_only(index)) as connection:
            if suspect_marker(index).exists():
                yield CheckFinding("damage", "warning", "an earlier process found damage", _REBUILD_ADVICE)
            for name, check in checks:
                on_step(name)
                found = list(_run_check(name, check, connection, full, index))
                yield from found
                if name == "schema" and found[0].state == "failed":
                    return
    except IndexDamaged as error:
        yield CheckFinding("index", "failed", str(error.__cause__ or error), _REBUILD_ADVICE)


def _open_read_only(index: Path) -> apsw.Connection:
    connection = apsw.Connection(str(index), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    load_vector_extension(connection)
    return connection


def _run_check(
    name: str,
    check: Callable[[Connection, bool], Iterator[CheckFinding]],
    connection: apsw.Connection,
    full: bool,
    index: Path,
) -> Iterator[CheckFinding]:
    """Run one check in one snapshot; damage that it meets is a finding and does not hide those of other checks."""
    connection.execute("BEGIN").fetchall()
    try:
        with translate_errors(index):
            yield from check(cast("Connection", connection), full)
    except IndexDamaged as error:
        yield CheckFinding(name, "failed", str(error.__cause__ or error), _REBUILD_ADVICE)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK").fetchall()


def _check_schema_version(connection: Connection, _full: bool) -> Iterator[CheckFinding]:
    version, newest = int(connection.pragma("user_version")), len(migrations())
    if connection.pragma("application_id") != APPLICATION_ID:
        yield CheckFinding(
            "schema", "failed", "the header does not say that this is an index of indexd", _REBUILD_ADVICE
        )
    elif version > newest:
        yield CheckFinding(
            "schema", "failed", f"made by a newer indexd (schema version {version} of {newest})", "update indexd"
        )
    elif version < newest:
        yield CheckFinding(
            "schema",
            "warning",
            f"schema version {version} of {newest}",
            "start the daemon once: it brings it up to date",
        )
    else:
        yield CheckFinding("schema", "ok", f"schema version {version}")


def _check_pages(connection: Connection, full: bool) -> Iterator[CheckFinding]:
    tables = [table.name for table in non_derived_tables(connection)]
    if full:
        found = _integrity_errors(connection, "")
        yield _finding("pages", found, f"every page is intact ({connection.pragma('page_count')} pages)")
        return
    for table in tables:
        connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()
    for table in USER_DATA_TABLES + LEDGER_TABLES:
        found = _integrity_errors(connection, table)
        if found:
            yield _finding("pages", [f"{table}: {text}" for text in found], "")
            return
    yield CheckFinding("pages", "ok", "annotations and the job ledger are intact (--full reads every page)")


def _integrity_errors(connection: Connection, table: str) -> list[str]:
    what = f"PRAGMA integrity_check({table})" if table else "PRAGMA integrity_check(5)"
    found = [str(text) for (text,) in connection.execute(what).fetchall()]
    return [] if found == ["ok"] else found


def _finding(name: str, found: list[str], well: str) -> CheckFinding:
    if not found:
        return CheckFinding(name, "ok", well)
    return CheckFinding(name, "failed", " ".join("; ".join(found).split())[:300], _REBUILD_ADVICE)


def _check_references(connection: Connection, full: bool) -> Iterator[CheckFinding]:
    tables = ("",) if full else USER_DATA_TABLES + LEDGER_TABLES
    for table in tables:
        what = f"PRAGMA foreign_key_check({table})" if table else "PRAGMA foreign_key_check"
        orphans = connection.execute(what).fetchall()
        if orphans:
            detail = f"{len(orphans)} rows of {orphans[0][0]} reference missing rows"
            yield CheckFinding("references", "failed", detail, _REBUILD_ADVICE)
            return
    yield CheckFinding("references", "ok", "all references are valid")


def _check_fulltext(connection: Connection, full: bool) -> Iterator[CheckFinding]:
    connection.execute(f"SELECT rowid FROM {FULLTEXT_TABLE} WHERE {FULLTEXT_TABLE} MATCH 'a' LIMIT 1").fetchall()
    if not full:
        yield CheckFinding("full text", "ok", "the full text can be searched (--full compares it with the images)")
        return
    found = _integrity_errors(connection, FULLTEXT_TABLE)
    missing = _count(connection, f"image_text WHERE image_id NOT IN (SELECT id FROM {FULLTEXT_TABLE}_docsize)")
    if not found and missing:
        found = [f"{missing} images are missing in the full text"]
    yield _finding("full text", found, "every image is in the full text")


def _check_vectors(connection: Connection, full: bool) -> Iterator[CheckFinding]:
    rows = connection.execute("SELECT id, layer, dim, generation FROM revision WHERE active ORDER BY layer").fetchall()
    for revision, layer, dim, generation in rows:
        vectors, codes = f"embedding_{revision}", f"codes_{revision}_{generation}"
        key = vector_key(layer)
        wrong = _sampled_vector_problem(connection, vectors, codes, key, dim)
        well = f"{layer}: a sample is intact"
        if full and not wrong:
            count = _count(connection, vectors)
            without = _count(connection, f"{vectors} WHERE {key} NOT IN (SELECT {key} FROM {codes})")
            lost = _count(connection, f"{codes} WHERE {key} NOT IN (SELECT {key} FROM {vectors})")
            well = f"{layer}: {count} vectors, each with its code"
            if without or lost:
                wrong = f"{without} vectors have no code and {lost} codes no vector"
        if wrong:
            yield CheckFinding("vectors", "failed", f"{layer}: {wrong}", _REBUILD_ADVICE)
        else:
            yield CheckFinding("vectors", "ok", well)
    if not rows:
        yield CheckFinding("vectors", "ok", "there are none yet")


def _sampled_vector_problem(connection: Connection, vectors: str, codes: str, key: VectorKey, dim: int) -> str | None:
    last = connection.execute(f"SELECT coalesce(max({key}), 0) FROM {vectors}").fetchall()[0][0]
    thing = "image" if key == "image_id" else "region"
    chance = random.Random(last)
    for _ in range(min(SAMPLE_VECTORS, last)):
        found = connection.execute(
            f"SELECT {key}, vector FROM {vectors} WHERE {key} >= ? ORDER BY {key} LIMIT 1",
            (chance.randint(1, last),),
        ).fetchone()
        if found is None:
            return "the key order of the vectors is damaged"
        one, blob = found
        vector = np.frombuffer(blob, np.float16).astype(np.float32) if len(blob) == 2 * dim else None
        if vector is None or not abs(float(np.linalg.norm(vector)) - 1.0) < 0.02:
            return f"the vector of {thing} #{one} is invalid"
        code = connection.execute(f"SELECT code FROM {codes} WHERE {key} = ?", (one,)).fetchone()
        if code is None or len(code[0]) != code_bytes(dim):
            return f"the vector of {thing} #{one} has no code"
    return None


def _check_ledger(connection: Connection, _full: bool) -> Iterator[CheckFinding]:
    ended = "job.state IN ('done', 'failed', 'cancelled') AND item.state IN ('queued', 'running')"
    open_items = _count(connection, f"job JOIN job_item AS item ON item.job_id = job.id WHERE {ended}")
    empty = _count(connection, "job WHERE id NOT IN (SELECT job_id FROM job_item)")
    nowhere = _count(connection, "job_item WHERE state = 'done' AND content_hash IS NULL")
    wrong = []
    if open_items:
        wrong.append(f"{open_items} items are pending in finished jobs")
    if empty:
        wrong.append(f"{empty} jobs have no items")
    if nowhere:
        wrong.append(f"{nowhere} items are done but have no content hash")
    if wrong:
        yield CheckFinding(
            "ledger", "warning", "; ".join(wrong), "`indexd jobs retry JOB` queues the unfinished items of a job"
        )
    else:
        yield CheckFinding("ledger", "ok", f"{_count(connection, 'job')} jobs, all consistent")


def _check_parser_versions(connection: Connection, _full: bool) -> Iterator[CheckFinding]:
    old = _count(connection, f"image WHERE parser_version BETWEEN 0 AND {PARSER_VERSION - 1}")
    if old:
        yield CheckFinding(
            "metadata", "warning", f"{old} images were read by an older metadata parser", "`indexd reparse`"
        )
    else:
        yield CheckFinding("metadata", "ok", "all metadata was read by the current version")


def _check_files(connection: Connection, full: bool) -> Iterator[CheckFinding]:
    last = connection.execute("SELECT coalesce(max(id), 0) FROM file").fetchall()[0][0]
    chance = random.Random()
    wanted = {chance.randint(1, last) for _ in range(SAMPLE_FILES_FULL if full else SAMPLE_FILES)} if last else set()
    checked, differing = 0, []
    for file_id in sorted(wanted):
        row = connection.execute(
            "SELECT root.path, rel, size, mtime_ns, content_hash FROM file"
            " JOIN root ON root.id = root_id JOIN image ON image.id = image_id"
            " WHERE file.id = ? AND missing_since IS NULL AND root.online",
            (file_id,),
        ).fetchone()
        if row is None:
            continue
        checked += 1
        path = absolute(row[0], row[1])
        difference = _file_difference(path, row[2], row[3], row[4] if full else None)
        if difference:
            differing.append(f"{display(path)} {difference}")
    if differing:
        named = "; ".join(differing[:NAMED_FILES])
        more = f" and {len(differing) - NAMED_FILES} more" if len(differing) > NAMED_FILES else ""
        yield CheckFinding(
            "files", "warning", f"{len(differing)} of {checked} checked files differ: {named}{more}", _RESCAN_ADVICE
        )
    else:
        by = "by their content" if full else "by size and time"
        yield CheckFinding("files", "ok", f"{checked} randomly chosen files match the index ({by})")


def _file_difference(path: bytes, size: int, mtime_ns: int, content_hash: bytes | None) -> str | None:
    try:
        with open_regular(path) as opened:
            now = FileStamp.from_stat(os.fstat(opened.fileno()))
            if (now.size, now.mtime_ns) != (size, mtime_ns):
                return "changed since it was indexed"
            if content_hash is not None and hash_and_open(opened, now.size)[0] != content_hash:
                return "has the same size and time but other bytes than when it was indexed"
    except FileNotFoundError:
        return "is gone and not marked as missing yet"
    except (OSError, NotRegularFile, UnreadableImage) as error:
        return f"cannot be read: {error}"
    return None


def _count(connection: Connection, rest: str) -> int:
    found: int = connection.execute(f"SELECT count(*) FROM {rest}").fetchall()[0][0]
    return found
