"""Words in prompts, tags, captions and file names. What people type is data here, never FTS5 syntax."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import compress, islice

import apsw
import numpy as np

from indexd.image_metadata.model import ImageMetadata
from indexd.store.id_set import IdSet
from indexd.store.protocols.images import FulltextRepository
from indexd.store.records import SEARCHED_COLUMNS, TextColumn
from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.annotations.tags import refresh_folder_tags
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.metadata_columns import CHARACTER_PROMPTS
from indexd.text_tokens import indexed_tokens, parse_query

# bm25 of 10 000 hits of one word takes 12 ms, of two 25 ms, of half a million 430 ms: beyond this the newest come first, all worth the same.
MAX_RANKED_HITS = 10_000
# A word in the prompt or in a tag says more than one in a file name.
_RANK = "bm25(prompt_fts, 1.0, 1.0, 1.5, 1.0, 0.5, 1.0)"
# Ten thousand ids take 3 ms to become a table in SQLite, fifty thousand 20.
MAX_JSON_IDS = 10_000
CHUNK_HITS = 4096


class Fulltext(FulltextRepository):
    """The full text. Words are not looked for in the negative prompt unless asked: it says what is *not* shown."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def match(
        self,
        query: str,
        limit: int,
        among: Collection[int] | None = None,
        columns: Collection[TextColumn] = SEARCHED_COLUMNS,
    ) -> list[tuple[int, float]]:
        expression = match_expression(query, columns)
        if expression is None or limit <= 0:
            return []
        if among is not None and len(among) > MAX_JSON_IDS:
            return self._match_large_set(expression, limit, IdSet.of(among))
        # "+ 0" keeps the planner from asking FTS5 once for each id: the ids become one lookup table.
        restricted = "" if among is None else "AND rowid + 0 IN (SELECT value FROM json_each(?))"
        bound: tuple[str, ...] = (expression,) if among is None else (expression, ids_json(among))
        where = f"FROM prompt_fts WHERE prompt_fts MATCH ? {restricted}"
        with self._database.read() as connection:
            if _has_at_most_hits(connection, expression, MAX_RANKED_HITS):
                rows = connection.execute(
                    f"SELECT rowid, -{_RANK} AS score {where} ORDER BY score DESC, rowid DESC LIMIT ?", (*bound, limit)
                )
            else:
                rows = connection.execute(f"SELECT rowid, 0.0 {where} ORDER BY rowid DESC LIMIT ?", (*bound, limit))
            return rows.fetchall()

    def texts(self, ids: Collection[int]) -> dict[int, dict[TextColumn, str]]:
        with self._database.read() as connection:
            return dict(_read_texts(connection, list(ids)))

    def _match_large_set(self, expression: str, limit: int, among: IdSet) -> list[tuple[int, float]]:
        """The same where `among` are so many that handing them to SQLite would cost more than the hits."""
        with self._database.read() as connection:
            if _has_at_most_hits(connection, expression, MAX_RANKED_HITS):
                # Only who is left is ranked: that takes ten times as long as finding the hits.
                hits = connection.execute(
                    "SELECT group_concat(rowid) FROM prompt_fts WHERE prompt_fts MATCH ?", (expression,)
                ).fetchall()[0][0]
                found = np.fromstring(hits or "", dtype=np.int64, sep=",")
                return connection.execute(
                    f"SELECT rowid, -{_RANK} AS score FROM prompt_fts WHERE prompt_fts MATCH ? AND rowid + 0 IN carray(?)"
                    " ORDER BY score DESC, rowid DESC LIMIT ?",
                    (expression, apsw.carray(found[among.membership_mask(found)]), limit),
                ).fetchall()
            walk = iter(
                connection.execute(
                    "SELECT rowid, 0.0 FROM prompt_fts WHERE prompt_fts MATCH ? ORDER BY rowid DESC", (expression,)
                )
            )
            newest: list[tuple[int, float]] = []
            while len(newest) < limit and (chunk := list(islice(walk, CHUNK_HITS))):
                newest += compress(chunk, among.membership_mask(np.array([image_id for image_id, _ in chunk])))
        return newest[:limit]


def match_expression(query: str, columns: Collection[TextColumn]) -> str | None:
    """The FTS5 expression for the words of `query` in `columns`, or None when it holds no word.

    Every phrase becomes a quoted FTS5 string of tokens, in which nothing but the quote is special
    (https://sqlite.org/fts5.html).
    """
    terms = [
        f'"{" ".join(phrase.tokens)}"{"*" if phrase.is_prefix else ""}' for phrase in parse_query(utf8_text(query))
    ]
    return f"{{{' '.join(columns)}}} : ({' AND '.join(terms)})" if terms else None


def _has_at_most_hits(connection: Connection, expression: str, count: int) -> bool:
    rows = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM prompt_fts WHERE prompt_fts MATCH ? LIMIT ?)", (expression, count + 1)
    )
    hits: int = rows.fetchall()[0][0]
    return hits <= count


# The full-text rows, written from the tables whose texts they index.

INSERT_FULLTEXT_SQL = """
INSERT INTO prompt_fts (rowid, prompt, negative, raw_prompt, tags, captions, file_name) VALUES (?, ?, ?, ?, '', '', ?)
"""


def fulltext_row(image_id: int, metadata: ImageMetadata, name: str) -> tuple[int, str, str, str, str]:
    """The row of INSERT_FULLTEXT_SQL for a new image: prompts of single characters are parts of the prompts."""
    prompt = _join_texts((metadata.prompt, *(one.text for one in metadata.characters)))
    negative = _join_texts((metadata.negative_prompt, *(one.negative_text for one in metadata.characters)))
    return (
        image_id,
        indexed_tokens(prompt),
        indexed_tokens(negative),
        indexed_tokens(utf8_text(metadata.raw_prompt) or ""),
        indexed_tokens(name),
    )


def _join_texts(texts: Iterable[str | None]) -> str:
    return "\n".join(utf8_text(text) for text in texts if text)


def file_name(display: str) -> str:
    """The last part of a relative path as text."""
    return display.rpartition("/")[2]


def refresh_fulltext(connection: Connection, ids: Iterable[int]) -> None:
    """Write the full-text rows (and the folder tags) of these images anew, inside the caller's transaction.

    A contentless table cannot change one column alone (https://sqlite.org/fts5.html#contentless_delete_tables).
    """
    wanted = list(ids)
    refresh_folder_tags(connection, wanted)
    for image_id, texts in _read_texts(connection, wanted):
        connection.execute(
            f"INSERT OR REPLACE INTO prompt_fts (rowid, {', '.join(texts)}) VALUES (?{', ?' * len(texts)})",
            (image_id, *map(indexed_tokens, texts.values())),
        )


def _read_texts(connection: Connection, ids: Sequence[int]) -> Iterator[tuple[int, dict[TextColumn, str]]]:
    """The text of every full-text column of these images, from the tables that it stands in."""
    rows = connection.execute(
        """
        SELECT image_id, prompt, negative_prompt, coalesce(raw_prompt, ''),
               (SELECT coalesce(group_concat(name, ' , '), '') FROM (
                    SELECT name FROM tag WHERE tag.image_id = image_text.image_id
                    UNION SELECT name FROM folder_tag WHERE folder_tag.image_id = image_text.image_id)),
               (SELECT coalesce(group_concat(value, ' , '), '') FROM image_attribute
                WHERE image_attribute.image_id = image_text.image_id AND NOT (source IN ('file', 'sidecar') AND key = 'rating')),
               (SELECT json_group_array(display) FROM file WHERE file.image_id = image_text.image_id)
        FROM image_text WHERE image_id IN (SELECT value FROM json_each(?))
        """,
        (ids_json(ids),),
    ).fetchall()
    characters = CHARACTER_PROMPTS.read_records(connection, ids)
    for image_id, prompt, negative, raw_prompt, tags, captions, displays in rows:
        spoken = characters.get(image_id, ())
        yield (
            image_id,
            {
                "prompt": _join_texts((prompt, *(one.text for one in spoken))),
                "negative": _join_texts((negative, *(one.negative_text for one in spoken))),
                "raw_prompt": raw_prompt,
                "tags": tags,
                "captions": captions,
                "file_name": _file_names(displays),
            },
        )


def _file_names(displays: str) -> str:
    return " ".join(dict.fromkeys(file_name(one) for one in json.loads(displays)))
