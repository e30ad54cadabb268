"""Perceptual hashes: written by the thumbnail stage, read all at once to find duplicates."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping

import numpy as np

from indexd.store.protocols.images import PerceptualHashRepository
from indexd.store.records import HASH_BYTES, HashedImages
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.database import Database

_VERSION_KEY = "perceptual_hash_version"


class PerceptualHashes(PerceptualHashRepository):
    """One row per image; an empty hash means that the image is too uniform to be recognised."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def activate(self, version: str, stage: str) -> int:
        with self._database.read() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (_VERSION_KEY,)).fetchone()
        if row is not None and row[0] == version:
            return 0
        with self._database.write() as connection:
            connection.execute("DELETE FROM perceptual_hash")
            connection.execute(
                "INSERT OR IGNORE INTO index_task (stage, image_id) SELECT ?, id FROM image WHERE decode_problem IS NULL",
                (stage,),
            )
            waiting = connection.changes()
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_VERSION_KEY, version))
        return waiting

    def put(self, stage: str, hashes: Mapping[int, bytes]) -> None:
        wrong = next((one for one in hashes.values() if len(one) not in (0, HASH_BYTES)), None)
        if wrong is not None:
            raise ValueError(f"a perceptual hash has {HASH_BYTES} bytes or none (got {len(wrong)})")
        with self._database.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO perceptual_hash (image_id, hash) VALUES (?, ?)", list(hashes.items())
            )
            connection.execute(
                "DELETE FROM index_task WHERE stage = ? AND image_id IN (SELECT value FROM json_each(?))",
                (stage, ids_json(hashes)),
            )

    def counts(self) -> tuple[int, int]:
        with self._database.read() as connection:
            hashed, plain = connection.execute(
                "SELECT count(*) FILTER (WHERE length(hash) > 0), count(*) FILTER (WHERE length(hash) = 0)"
                " FROM perceptual_hash"
            ).fetchall()[0]
        return hashed, plain

    def present(self, among: Collection[int] | None) -> HashedImages:
        restricted = "" if among is None else "AND image_id IN (SELECT value FROM json_each(?))"
        ids, hashes = array("q"), bytearray()
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT image_id, hash FROM perceptual_hash"
                f" WHERE length(hash) > 0 {restricted}"
                " AND EXISTS (SELECT 1 FROM file WHERE file.image_id = perceptual_hash.image_id AND missing_since IS NULL)"
                " ORDER BY image_id",
                () if among is None else (ids_json(among),),
            )
            for image_id, one in rows:
                ids.append(image_id)
                hashes += one
        return HashedImages(
            np.array(ids, np.int64),
            np.frombuffer(bytes(hashes), np.uint8).reshape(len(ids), HASH_BYTES),
        )
