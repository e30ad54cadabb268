"""Everything that people put in, by content: given out in pages, and taken in again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from indexd.store.database import Connection, Database
from indexd.store.files import files_of
from indexd.store.merging import MarkSet, add_marks, let_wait, read_marks, waiting_marks
from indexd.store.values import ids_json


@dataclass(frozen=True, slots=True)
class Kept:
    """The marks of one content. `places` are absolute paths where it lies, `name` says where it was seen last.

    `image_id` None: the content is not in the index, and its marks wait for it.
    """

    content_hash: bytes
    marks: MarkSet
    image_id: int | None = None
    name: str | None = None
    places: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of marks that were brought: how many contents they changed, were known already, and wait."""

    changed: int
    same: int
    waiting: int


class Keeping:
    """Marks by content. Pages go by image id, then through what waits; the cursor is opaque to others."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, cursor: str, limit: int, among: Collection[int] | None = None) -> tuple[list[Kept], str | None]:
        """At most `limit` contents with marks after `cursor` ("" = from the start), and the next cursor or None.

        `among` restricts to these images; then what waits, which is no image, is left out.
        """
        with self._database.read() as connection:
            where, _, after = cursor.partition(":")
            if where != "waiting":
                found = _of_images(connection, int(after or 0), limit, among)
                if len(found) == limit:
                    return found, f"image:{found[-1].image_id}"
                return found, None if among is not None else "waiting:"
            rows = connection.execute(
                "SELECT content_hash, rating, rated_at, tags, note, noted_at FROM waiting_mark"
                " WHERE content_hash > ? ORDER BY content_hash LIMIT ?",
                (bytes.fromhex(after), limit),
            ).fetchall()
            waiting = [Kept(row[0], waiting_marks(row[1:])) for row in rows]
            return waiting, f"waiting:{rows[-1][0].hex()}" if len(rows) == limit else None

    def take_in(self, given: Mapping[bytes, MarkSet], *, prefer_given: bool = False, dry_run: bool = False) -> TakenIn:
        """Merge marks by content hash into the index; those of unknown contents wait until the content appears."""
        try:
            with self._database.write(durable=True) as connection:
                ids = _ids_of(connection, given)
                known = {ids[content_hash]: (marks,) for content_hash, marks in given.items() if content_hash in ids}
                unknown = {content_hash: marks for content_hash, marks in given.items() if content_hash not in ids}
                changes = add_marks(connection, known, prefer_given=prefer_given)
                waits = let_wait(connection, unknown, prefer_given=prefer_given)
                changed = sum(changes.values()) + sum(waits.values())
                taken = TakenIn(changed, len(given) - changed, len(waits))
                if dry_run:
                    raise _OnlyAsked(taken)
        except _OnlyAsked as asked:
            return asked.taken
        return taken

    def waiting(self) -> int:
        """How many contents that are not in the index have marks waiting for them."""
        with self._database.read() as connection:
            count: int = connection.execute("SELECT count(*) FROM waiting_mark").fetchall()[0][0]
        return count


class _OnlyAsked(Exception):
    """Rolls a dry run back; never leaves this module."""

    def __init__(self, taken: TakenIn) -> None:
        super().__init__()
        self.taken = taken


def _ids_of(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, int]:
    found = {}
    for content_hash in hashes:
        row = connection.execute("SELECT id FROM image WHERE content_hash = ?", (content_hash,)).fetchone()
        if row is not None:
            found[content_hash] = row[0]
    return found


def _of_images(connection: Connection, after: int, limit: int, among: Collection[int] | None) -> list[Kept]:
    restricted = "" if among is None else "AND id IN (SELECT value FROM json_each(?))"
    rows = connection.execute(
        f"""
        SELECT id, content_hash FROM image
        WHERE id > ? AND (EXISTS (SELECT 1 FROM rating WHERE rating.image_id = image.id)
                          OR EXISTS (SELECT 1 FROM note WHERE note.image_id = image.id)
                          OR EXISTS (SELECT 1 FROM tag WHERE tag.image_id = image.id))
          {restricted}
        ORDER BY id LIMIT ?
        """,
        (after, limit) if among is None else (after, ids_json(among), limit),
    ).fetchall()
    ids = [image_id for image_id, _ in rows]
    marks, files = read_marks(connection, ids), files_of(connection, ids_json(ids))
    found = []
    for image_id, content_hash in rows:
        lies = files.get(image_id, [])
        places = tuple(file.path for file in lies if file.missing_since is None)
        name = lies[0].rel.decode("utf-8", "replace") if lies else None
        found.append(Kept(content_hash, marks[image_id], image_id, name, places))
    return found
