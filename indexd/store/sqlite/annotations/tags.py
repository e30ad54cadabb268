"""Names of tags: one spelling each, hierarchical by `/`, and the tags that follow from folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.database import Connection


def normalize_tag(text: str) -> str:
    """The stored form of a tag: composed Unicode, without blanks around its parts and without empty parts; may be ""."""
    parts = unicodedata.normalize("NFC", utf8_text(text)).split("/")
    return "/".join(part.strip() for part in parts if part.strip())


def with_ancestors(name: str) -> Iterator[str]:
    """The tag and its ancestors: `a/b/c` gives `a`, `a/b` and `a/b/c`."""
    parts = name.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


class TagSpelling:
    """The first spelling in this index of each tag and of each level."""

    def __init__(self, connection: Connection) -> None:
        self._known: dict[str, str] = {}
        for (name,) in connection.execute("SELECT DISTINCT name FROM tag ORDER BY name"):
            self.canonical(name)

    def canonical(self, name: str) -> str:
        """`name` in its known spelling; unchanged when it is new."""
        spelled = ""
        for level in name.split("/"):
            wanted = f"{spelled}/{level}" if spelled else level
            spelled = self._known.setdefault(wanted.casefold(), wanted)
        return spelled


def refresh_folder_tags(connection: Connection, ids: Iterable[int]) -> None:
    """Recompute the folder tags of these images from the paths of their files, in the caller's transaction."""
    used = "SELECT EXISTS (SELECT 1 FROM root WHERE folder_tags) OR EXISTS (SELECT 1 FROM folder_tag)"
    if not connection.execute(used).fetchall()[0][0]:
        return
    wanted = ids_json(ids)
    rows = connection.execute(
        "SELECT image_id, display FROM file JOIN root ON root.id = root_id"
        " WHERE folder_tags AND image_id IN (SELECT value FROM json_each(?))",
        (wanted,),
    ).fetchall()
    connection.execute("DELETE FROM folder_tag WHERE image_id IN (SELECT value FROM json_each(?))", (wanted,))
    tags = ((image_id, normalize_tag(display.rpartition("/")[0])) for image_id, display in rows)
    connection.executemany(
        "INSERT OR IGNORE INTO folder_tag (image_id, name) VALUES (?, ?)", (pair for pair in tags if pair[1])
    )
