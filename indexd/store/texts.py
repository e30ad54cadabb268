"""The full-text rows, written from the tables whose texts they index."""

from __future__ import annotations

import json
from collections.abc import Iterable

from indexd.images.facts import ImageMetadata
from indexd.store.database import Connection
from indexd.store.parts import CHARACTER_PROMPTS
from indexd.store.tags import refresh_folder_tags
from indexd.store.values import ids_json, utf8_text

INSERT_FULLTEXT_SQL = """
INSERT INTO prompt_fts (rowid, prompt, negative, raw_prompt, tags, captions, file_name) VALUES (?, ?, ?, ?, '', '', ?)
"""


def fulltext_row(image_id: int, metadata: ImageMetadata, name: str) -> tuple[int, str, str, str, str]:
    """The row of INSERT_TEXT for a new picture: prompts of single characters are parts of the prompts."""
    prompts = (metadata.prompt, *(one.text for one in metadata.characters))
    negatives = (metadata.negative_prompt, *(one.negative_text for one in metadata.characters))
    return image_id, _join_texts(prompts), _join_texts(negatives), utf8_text(metadata.raw_prompt) or "", name


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
    rows = connection.execute(
        """
        SELECT image_id, prompt, negative_prompt, coalesce(raw_prompt, ''),
               (SELECT coalesce(group_concat(name, ' , '), '') FROM (
                    SELECT name FROM tag WHERE tag.image_id = image_text.image_id
                    UNION SELECT name FROM folder_tag WHERE folder_tag.image_id = image_text.image_id)),
               (SELECT json_group_array(display) FROM file WHERE file.image_id = image_text.image_id)
        FROM image_text WHERE image_id IN (SELECT value FROM json_each(?))
        """,
        (ids_json(wanted),),
    ).fetchall()
    characters = CHARACTER_PROMPTS.read(connection, wanted)
    for image_id, prompt, negative, raw_prompt, tags, displays in rows:
        spoken = characters.get(image_id, ())
        connection.execute(
            "INSERT OR REPLACE INTO prompt_fts (rowid, prompt, negative, raw_prompt, tags, captions, file_name)"
            " VALUES (?, ?, ?, ?, ?, '', ?)",
            (
                image_id,
                _join_texts((prompt, *(row[0] for row in spoken))),
                _join_texts((negative, *(row[1] for row in spoken))),
                raw_prompt,
                tags,
                _file_names(displays),
            ),
        )


def _file_names(displays: str) -> str:
    return " ".join(dict.fromkeys(file_name(one) for one in json.loads(displays)))
