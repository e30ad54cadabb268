"""Fills the full text anew when its tokens are older than this program: in steps, each kept, so that an interruption costs little."""

from __future__ import annotations

import logging

from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.text_tokens import TOKENS_VERSION

log = logging.getLogger(__name__)

BATCH_IMAGES = 2000
_VERSION_KEY = "fulltext_version"
_PROGRESS_KEY = "fulltext_refill"
_LOG_IMAGES = 100_000


def is_fulltext_current(connection: Connection) -> bool:
    """Whether every text is stored with the tokens of this program."""
    return _read(connection, _VERSION_KEY) == str(TOKENS_VERSION)


def mark_fulltext_current(connection: Connection) -> None:
    """State that every text is stored with the tokens of this program, inside the caller's transaction."""
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_VERSION_KEY, str(TOKENS_VERSION)))
    connection.execute("DELETE FROM meta WHERE key = ?", (_PROGRESS_KEY,))


def refill_fulltext(database: Database) -> None:
    """Store the texts of all images with the tokens of this program, unless they are stored so."""
    with database.read() as connection:
        if is_fulltext_current(connection):
            return
        total = connection.execute("SELECT count(*) FROM image").fetchall()[0][0]
    if total > BATCH_IMAGES:
        log.warning("indexing the full text of %d images anew; searches wait until it is done", total)
    done = 0
    while count := _refill_batch(database):
        done += count
        if done % _LOG_IMAGES == 0:
            log.info("full text: %d of %d images are indexed", done, total)


def _refill_batch(database: Database) -> int:
    """Index the next images; 0 when there are no more."""
    with database.write() as connection:
        version, _, filled = (_read(connection, _PROGRESS_KEY) or "").partition(":")
        if version != str(TOKENS_VERSION):
            connection.execute("INSERT INTO prompt_fts (prompt_fts) VALUES ('delete-all')")
            filled = "0"
        ids = [
            image_id
            for (image_id,) in connection.execute(
                "SELECT id FROM image WHERE id > ? ORDER BY id LIMIT ?", (int(filled), BATCH_IMAGES)
            )
        ]
        if not ids:
            mark_fulltext_current(connection)
            return 0
        refresh_fulltext(connection, ids)
        connection.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_PROGRESS_KEY, f"{TOKENS_VERSION}:{ids[-1]}")
        )
    return len(ids)


def _read(connection: Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None
