"""Attributes: what index stages state about images, such as captions, automatic tags and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from indexd.store.protocols.images import AttributeRepository
from indexd.store.records import AttributeRow, StageInput
from indexd.store.sqlite.adapters import finite_or_none, ids_json, utf8_text
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd.store.sqlite.library.image_count import last_image_id
from indexd.store.sqlite.vectors.revisions import requeue_all
from indexd.worker.calls import ImageAttribute

_ON = "on"


class Attributes(AttributeRepository):
    """Rows (image, source, key, value, score) by image. `source` is the stage that states them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_enabled(self, stage: str, *, on: bool) -> None:
        with self._database.read() as connection:
            state = _read_meta(connection, _off_since_key(stage))
        if on == (state == _ON):
            return
        with self._database.write() as connection:
            if on:
                connection.execute(
                    "INSERT OR IGNORE INTO index_task (stage, image_id) SELECT ?, id FROM image"
                    " WHERE decode_problem IS NULL AND id > ?",
                    (stage, int(state or 0)),
                )
            elif state is None:
                return
            _write_meta(connection, _off_since_key(stage), _ON if on else str(last_image_id(connection)))

    def identity(self, stage: str) -> str | None:
        with self._database.read() as connection:
            return _read_meta(connection, _identity_key(stage))

    def activate(self, stage: str, identity: str, needs: StageInput) -> None:
        known = self.identity(stage)
        if known == identity:
            return
        with self._database.write() as connection:
            if known is not None:
                requeue_all(connection, stage, needs)
            _write_meta(connection, _identity_key(stage), identity)

    def put(self, stage: str, stated: Mapping[int, Sequence[ImageAttribute]]) -> None:
        with self._database.write() as connection:
            ids = ids_json(stated)
            among = "IN (SELECT value FROM json_each(?))"
            connection.execute(f"DELETE FROM image_attribute WHERE source = ? AND image_id {among}", (stage, ids))
            connection.executemany(
                "INSERT INTO image_attribute (image_id, source, position, key, value, score) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (image_id, stage, position, utf8_text(one.key), utf8_text(one.value), finite_or_none(one.score))
                    for image_id, attributes in stated.items()
                    for position, one in enumerate(attributes)
                ],
            )
            refresh_fulltext(connection, stated)
            connection.execute(f"DELETE FROM index_task WHERE stage = ? AND image_id {among}", (stage, ids))

    def of_images(self, ids: Iterable[int]) -> dict[int, list[AttributeRow]]:
        found: dict[int, list[AttributeRow]] = {}
        with self._database.read() as connection:
            for image_id, *row in connection.execute(
                "SELECT image_id, source, key, value, score FROM image_attribute"
                " WHERE image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id, source, position",
                (ids_json(ids),),
            ):
                found.setdefault(image_id, []).append(AttributeRow(*row))
        return found


def _off_since_key(stage: str) -> str:
    return f"stage {stage} off since image"


def _identity_key(stage: str) -> str:
    return f"revision of stage {stage}"


def _read_meta(connection: Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _write_meta(connection: Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
