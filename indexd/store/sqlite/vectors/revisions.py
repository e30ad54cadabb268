"""Model revisions of the layers, and the two tables that each has: exact vectors and coarse codes.

`embedding_<revision>` holds float16 blobs by image (those of faces by region); `codes_<revision>_<generation>` holds the codes in sqlite-vec. A
table for each revision keeps writes at the end of a tree and revisions apart: no comparison can mix them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexd.store.records import FACE_LAYER, Revision, StageInput, VectorKey
from indexd.store.sqlite.database import Connection
from indexd.vector_index.quantize import ROTATION_SEED, code_bytes

IMAGES_WITH_INPUT_SQL: dict[StageInput, str] = {
    "prompt": "SELECT image_id FROM image_text WHERE trim(prompt) <> ''",
    "negative_prompt": "SELECT image_id FROM image_text WHERE trim(negative_prompt) <> ''",
    "image": "SELECT id AS image_id FROM image WHERE decode_problem IS NULL",
    "faces": "SELECT id AS image_id FROM image WHERE decode_problem IS NULL",
}

_COLUMNS = "id, layer, identity, dim, active, rotation_seed, generation, mean, next_mean, requantized_up_to"


def vector_key(layer: str) -> VectorKey:
    """What the vectors of a layer belong to."""
    return "region_id" if layer == FACE_LAYER else "image_id"


@dataclass(frozen=True, slots=True)
class Coding:
    """A revision with everything that its codes depend on. `mean` and `next_mean` are float32 (dim,)."""

    revision: Revision
    active: bool
    rotation_seed: int
    generation: int
    mean: NDArray[np.float32] | None
    next_mean: NDArray[np.float32] | None
    requantized_up_to: int

    @property
    def key(self) -> VectorKey:
        """The column by which both tables are kept."""
        return vector_key(self.revision.layer)

    @property
    def vectors_table(self) -> str:
        """The table of the exact vectors."""
        return f"embedding_{self.revision.id}"

    @property
    def codes_table(self) -> str:
        """The table of the codes that questions use."""
        return f"codes_{self.revision.id}_{self.generation}"

    @property
    def next_codes_table(self) -> str:
        """The table that is being filled while codes are written anew."""
        return f"codes_{self.revision.id}_{self.generation + 1}"


def active_coding(connection: Connection, layer: str) -> Coding | None:
    """The active revision of a layer."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM revision WHERE layer = ? AND active", (layer,)).fetchone()
    return _coding(row) if row else None


def get_coding(connection: Connection, revision_id: int) -> Coding:
    """The revision of this id. Raises LookupError when there is none."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM revision WHERE id = ?", (revision_id,)).fetchone()
    if row is None:
        raise LookupError(f"there is no model revision {revision_id}")
    return _coding(row)


def all_codings(connection: Connection) -> list[Coding]:
    """Every revision of every layer, active or not."""
    return [_coding(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM revision").fetchall()]


def activate_revision(connection: Connection, layer: str, identity: str, dim: int, stage_input: StageInput) -> int:
    """Make this revision the one that the layer compares, and see to the work it brings. Inside the caller's transaction."""
    current = active_coding(connection, layer)
    if current is not None and current.revision.identity == identity:
        _require_dim(current.revision, dim)
        return current.revision.id
    connection.execute("UPDATE revision SET active = 0 WHERE layer = ? AND active", (layer,))
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM revision WHERE layer = ? AND identity = ?", (layer, identity)
    ).fetchone()
    if row is not None:
        coding = _coding(row)
        _require_dim(coding.revision, dim)
        connection.execute("UPDATE revision SET active = 1 WHERE id = ?", (coding.revision.id,))
    else:
        coding = _create_revision(connection, layer, identity, dim)
    if stage_input == "faces":
        # An image without faces has no vector of any revision, so the table does not tell whether it was searched for faces.
        requeue_all(connection, layer, stage_input)
    else:
        _requeue_missing(connection, layer, coding.vectors_table, stage_input)
    return coding.revision.id


def requeue_embedding(connection: Connection, image_id: int, layers: Iterable[str], *, wanted: bool) -> None:
    """The text of an image changed: these layers get their work again, or lose its vectors where there is no text now.

    The old vector of the present revision answers until the new one takes its place. Those of other revisions go: they
    would be used again, unnoticed, if their model came back.
    """
    for layer in layers:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM revision WHERE layer = ?", (layer,)).fetchall()
        for coding in map(_coding, rows):
            if coding.active and wanted:
                continue
            tables = [coding.vectors_table, coding.codes_table]
            tables += [coding.next_codes_table] if coding.next_mean is not None else []
            for table in tables:
                connection.execute(f"DELETE FROM {table} WHERE image_id = ?", (image_id,))
        connection.execute("DELETE FROM index_task WHERE stage = ? AND image_id = ?", (layer, image_id))
        if wanted:
            connection.execute("INSERT INTO index_task (stage, image_id) VALUES (?, ?)", (layer, image_id))


def create_codes_table(connection: Connection, table: str, key: VectorKey, dim: int) -> None:
    """An empty table of codes."""
    connection.execute(
        f"CREATE VIRTUAL TABLE {table} USING vec0 ({key} INTEGER PRIMARY KEY, code bit[{8 * code_bytes(dim)}])"
    )


def _create_revision(connection: Connection, layer: str, identity: str, dim: int) -> Coding:
    connection.execute(
        "INSERT INTO revision (layer, identity, dim, active, rotation_seed) VALUES (?, ?, ?, 1, ?)",
        (layer, identity, dim, ROTATION_SEED),
    )
    coding = get_coding(connection, connection.last_insert_rowid())
    connection.execute(
        f"CREATE TABLE {coding.vectors_table} ({coding.key} INTEGER PRIMARY KEY"
        f" REFERENCES {coding.key.removesuffix('_id')} (id), vector BLOB NOT NULL) STRICT"
    )
    create_codes_table(connection, coding.codes_table, coding.key, dim)
    return coding


def _requeue_missing(connection: Connection, layer: str, vectors_table: str, stage_input: StageInput) -> None:
    """Every image that has what the layer embeds and no vector of the new revision waits for one; the others do not."""
    connection.execute(
        f"DELETE FROM index_task WHERE stage = ? AND image_id IN (SELECT image_id FROM {vectors_table})", (layer,)
    )
    connection.execute(
        f"""
        INSERT INTO index_task (stage, image_id)
        SELECT ?, image_id FROM ({IMAGES_WITH_INPUT_SQL[stage_input]}) WHERE image_id NOT IN (SELECT image_id FROM {vectors_table})
        ON CONFLICT (stage, image_id) DO UPDATE SET state = 'pending', attempts = 0, not_before = 0, error = NULL
        """,
        (layer,),
    )


def requeue_all(connection: Connection, stage: str, stage_input: StageInput) -> int:
    """Every image that has what the stage works on waits for it, from the first attempt on; how many do."""
    connection.execute(
        f"INSERT INTO index_task (stage, image_id) SELECT ?, image_id FROM ({IMAGES_WITH_INPUT_SQL[stage_input]}) WHERE true"
        " ON CONFLICT (stage, image_id) DO UPDATE SET state = 'pending', attempts = 0, not_before = 0, error = NULL",
        (stage,),
    )
    return connection.changes()


def _require_dim(revision: Revision, dim: int) -> None:
    if revision.dim != dim:
        raise ValueError(f"{revision.layer} {revision.identity} has vectors of {revision.dim}, not {dim}")


def _coding(row: tuple[int, str, str, int, int, int, int, bytes | None, bytes | None, int]) -> Coding:
    revision_id, layer, identity, dim, active, seed, generation, mean, next_mean, requantized_up_to = row
    return Coding(
        Revision(revision_id, layer, identity, dim),
        bool(active),
        seed,
        generation,
        _floats(mean),
        _floats(next_mean),
        requantized_up_to,
    )


def _floats(blob: bytes | None) -> NDArray[np.float32] | None:
    return None if blob is None else np.frombuffer(blob, dtype=np.float32)
