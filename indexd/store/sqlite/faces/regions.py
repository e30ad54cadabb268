"""Rows of regions. A new detection of an image is matched with the known regions, so that they keep their ids.

Runs in the caller's transaction. Two regions are the same when they have the same kind and their boxes overlap by at least
SAME_REGION_IOU (intersection over union).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from indexd.store.records import RegionRow
from indexd.store.sqlite.adapters import ids_json
from indexd.store.sqlite.database import Connection
from indexd.store.sqlite.library.cascade import annotated_regions, cascade_delete
from indexd.worker.calls import FoundRegion, intersection_over_union

SAME_REGION_IOU = 0.5
_OFF_SINCE_KEY, _ON = "faces are off since image", "on"
_COLUMNS = "id, image_id, kind, detector, left, top, width, height, confidence, size_px, sharpness, quality"


def regions_by_image(connection: Connection, images: Collection[int]) -> dict[int, list[RegionRow]]:
    """The regions of each of these images by ascending id; images without regions are omitted."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM region WHERE image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id, id",
        (ids_json(images),),
    )
    found: dict[int, list[RegionRow]] = {}
    for row in map(region_row, rows):
        found.setdefault(row.image_id, []).append(row)
    return found


def regions_by_id(connection: Connection, ids: Collection[int]) -> dict[int, RegionRow]:
    """These regions by id; unknown ids are omitted."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM region WHERE id IN (SELECT value FROM json_each(?))", (ids_json(ids),)
    )
    return {row.id: row for row in map(region_row, rows)}


def merge_detections(
    connection: Connection, found: Mapping[int, Sequence[FoundRegion]]
) -> tuple[dict[int, list[int]], list[int]]:
    """Replace the regions of these images by those `found`; returns the ids per image in order, and the deleted ids.

    A known region that was not detected again is deleted with its dependent rows, unless it has an annotation.
    """
    before = regions_by_image(connection, found)
    ids: dict[int, list[int]] = {}
    unseen: list[int] = []
    for image_id, now in found.items():
        known = before.get(image_id, [])
        same = match_regions(now, known)
        ids[image_id] = [_upsert_region(connection, image_id, one, same.get(index)) for index, one in enumerate(now)]
        unseen += [row.id for row in known if row.id not in same.values()]
    gone = (
        [region_id for region_id in unseen if region_id not in annotated_regions(connection, unseen)] if unseen else []
    )
    delete_regions(connection, gone)
    return ids, gone


def faces_off_since(connection: Connection) -> int | None:
    """The last image id before face detection was disabled; 0 = it was never enabled, None = it is enabled."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_OFF_SINCE_KEY,)).fetchone()
    return 0 if row is None else None if row[0] == _ON else int(row[0])


def set_faces_off_since(connection: Connection, *, off_since: int | None) -> None:
    value = _ON if off_since is None else str(off_since)
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_OFF_SINCE_KEY, value))


def match_regions(now: Sequence[FoundRegion], known: Sequence[RegionRow]) -> dict[int, int]:
    """Index in `now` -> id of the same known region; the largest overlaps are matched first."""
    pairs = sorted(
        (
            (intersection_over_union(one.box, row.region.box), index, row.id)
            for index, one in enumerate(now)
            for row in known
            if one.kind == row.region.kind
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    same: dict[int, int] = {}
    matched: set[int] = set()
    for overlap, index, region_id in pairs:
        if overlap >= SAME_REGION_IOU and index not in same and region_id not in matched:
            same[index] = region_id
            matched.add(region_id)
    return same


def delete_regions(connection: Connection, ids: Collection[int]) -> None:
    """Delete regions and every row that references them."""
    if ids:
        cascade_delete(connection, "region_id", ids)
        connection.execute("DELETE FROM region WHERE id IN (SELECT value FROM json_each(?))", (ids_json(ids),))


def region_row(row: Iterable[object]) -> RegionRow:
    region_id, image_id, *rest = row
    return RegionRow(region_id, image_id, FoundRegion(*rest))  # type: ignore[arg-type]


def _upsert_region(connection: Connection, image_id: int, one: FoundRegion, region_id: int | None) -> int:
    values = (
        one.kind,
        one.detector,
        *one.box,
        one.confidence,
        one.size_px,
        one.sharpness,
        one.quality,
    )
    if region_id is None:
        connection.execute(
            f"INSERT INTO region ({_COLUMNS.removeprefix('id, ')}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (image_id, *values),
        )
        return connection.last_insert_rowid()
    connection.execute(
        "UPDATE region SET kind = ?, detector = ?, left = ?, top = ?, width = ?, height = ?, confidence = ?,"
        " size_px = ?, sharpness = ?, quality = ? WHERE id = ?",
        (*values, region_id),
    )
    return region_id
