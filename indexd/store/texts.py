"""The full-text rows, written from the tables whose texts they index."""

from __future__ import annotations

import json
from collections.abc import Iterable

from indexd.store.database import Connection
from indexd.store.tags import refresh_folder_tags
from indexd.store.values import ids_json

INSERT_TEXT = """
INSERT INTO prompt_fts (rowid, prompt, negative, tags, captions, file_name) VALUES (?, ?, ?, '', '', ?)
"""


def file_name(display: str) -> str:
    """The last part of a relative path as text."""
    return display.rpartition("/")[2]


def refresh_texts(connection: Connection, ids: Iterable[int]) -> None:
    """Write the full-text rows (and the folder tags) of these images anew, inside the caller's transaction.

    A contentless table cannot change one column alone (https://sqlite.org/fts5.html#contentless_delete_tables).
    """
    wanted = list(ids)
    refresh_folder_tags(connection, wanted)
    rows = connection.execute(
        """
        SELECT image_id, coalesce(prompt, ''), coalesce(negative_prompt, ''),
               (SELECT coalesce(group_concat(name, ' , '), '') FROM (
                    SELECT name FROM tag WHERE tag.image_id = image_text.image_id
                    UNION SELECT name FROM folder_tag WHERE folder_tag.image_id = image_text.image_id)),
               (SELECT json_group_array(display) FROM file WHERE file.image_id = image_text.image_id)
        FROM image_text WHERE image_id IN (SELECT value FROM json_each(?))
        """,
        (ids_json(wanted),),
    ).fetchall()
    for image_id, prompt, negative, tags, displays in rows:
        connection.execute(
            "INSERT OR REPLACE INTO prompt_fts (rowid, prompt, negative, tags, captions, file_name) VALUES (?, ?, ?, ?, '', ?)",
            (image_id, prompt, negative, tags, _names(displays)),
        )


def _names(displays: str) -> str:
    return " ".join(dict.fromkeys(file_name(one) for one in json.loads(displays)))
