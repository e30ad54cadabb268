"""The vectors of a whole layer, in slices: for work that looks at every picture once."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from indexd.store.database import Database
from indexd.store.embedding import read_vector_slice, read_vectors
from indexd.store.revisions import active_coding

SLICE_ROWS = 4096


class BulkReader:
    """Each slice is a read of its own, so that a long walk keeps no snapshot open; what comes or goes meanwhile may show."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def iter_vectors(
        self, layer: str, among: Collection[int] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Ids, ascending, and unit vectors, float32 (n, dim), of the layer's active revision; `among` None = of all."""
        wanted = None if among is None else sorted(among)
        after, place = -1, 0
        while True:
            with self._database.read() as connection:
                coding = active_coding(connection, layer)
                if coding is None:
                    return
                if wanted is None:
                    ids, vectors = read_vector_slice(connection, coding, after, SLICE_ROWS)
                else:
                    ids, vectors = read_vectors(connection, coding, wanted[place : place + SLICE_ROWS])
            place += SLICE_ROWS
            if ids:
                after = ids[-1]
                order = np.argsort(ids)
                yield np.asarray(ids, np.int64)[order], vectors[order]
            if not ids if wanted is None else place >= len(wanted):
                return

    def present_image_ids(self) -> NDArray[np.int64]:
        """The ids of all images that lie somewhere now, ascending."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT DISTINCT image_id FROM file WHERE missing_since IS NULL AND image_id IS NOT NULL ORDER BY image_id"
            )
            return np.fromiter((image_id for (image_id,) in rows), np.int64)

    def copy_counts(self) -> dict[int, int]:
        """The images whose bytes lie in several places now, by id, with the number of places."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT image_id, count(*) FROM file WHERE missing_since IS NULL AND image_id IS NOT NULL"
                " GROUP BY image_id HAVING count(*) > 1 ORDER BY image_id"
            ).fetchall()
        return dict(rows)
