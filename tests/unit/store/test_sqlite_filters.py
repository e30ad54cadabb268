"""Conditions on metadata: single, combined and negated."""

from __future__ import annotations

import json
import sys

import pytest

from indexd.store.records import Filter, RootRow
from indexd.store.sqlite.filters.condition_builders import id_subquery
from indexd.store.sqlite.filters.conditions import build_condition
from indexd.store.sqlite.store import SqliteStore
from tests.unit.store.sample_rows import Library


def _is(key: str, value: str, negate: bool = False) -> Filter:
    return Filter(key, "=", value, negate=negate)


def _range(key: str, low: str | None, high: str | None) -> Filter:
    return Filter(key, "..", low=low, high=high)


ODD_PATHS = (
    "June/a.png", "june/B.png", "JUNE/sub/c.png", "june2/d.png", "ju/e.png", "juné/f.png", "junÉ/g.png", "j@/h.png",
    "ja/i.png", "jA/k.png", "j`/l.png", "jz/m.png", "j{/n.png", "100%/o.png", "100_/p.png", "1000/q.png", "\\/r.png",
    "june\U0010ffff/s.png", "june\ud7ff/t.png", "a b/ü/u.png", "June", "pictures/June/v.png", "日本/w.png",
)  # fmt: skip
PATTERNS = (
    "june/*", "JUNE/*", "June/su*", "june*", "j*", "j@*", "ja/*", "jA*", "j`*", "jz/*", "juné/*", "junÉ*", "100%/*", "100_*",
    "\\/*", "june\U0010ffff*", "june\ud7ff*", "a b/ü/*", "*", "*june/*", "june/*.png", "/pictures/june/*", "/PICTURES/J*",
    "/pictures/*", "/pic*", "/*", "/elsewhere/*", "pictures/june/*", "/pictures/june*u*", "日本/*", "日*", "june", "june/a",
    "pictures/*", "june/june/*", "OTHER/ju*/f.png", "other/*", "her/*",
)  # fmt: skip


@pytest.mark.parametrize("value", PATTERNS)
def test_the_index_of_folders_finds_the_same_as_reading_every_path(store: SqliteStore, value: str) -> None:
    if sys.platform == "win32" and value.startswith("\\"):
        pytest.skip("a backslash is a separator on Windows")
    named = {"/pictures": "pictures", "/pictures/june": "june", "/Other": "Other"}
    roots = {store.roots.ensure(path.encode(), "images").id: name for path, name in named.items()}
    for root in roots:
        place = Library(store, RootRow(root, b"", "images"))
        store.images.ingest([place.sighting(rel, f"{root} {rel}") for rel in ODD_PATHS], 1.0)
    like = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    pattern = like if "*" in value else f"%{like}%"
    with store._database.read() as connection:
        every = connection.execute(
            "SELECT image_id FROM file JOIN root ON root.id = root_id WHERE CAST(path AS TEXT) || '/' || display LIKE ?1"
            " ESCAPE '\\' OR display LIKE ?1 ESCAPE '\\' OR (?2 ->> CAST(root_id AS TEXT)) || '/' || display LIKE ?1 ESCAPE '\\'"
            " AND ?3 LIKE (?2 ->> CAST(root_id AS TEXT)) || '/%'",
            (pattern, json.dumps(roots), value.partition("*")[0]),
        ).fetchall()
    found = store.filters.ids([_is("path", value)])
    assert found is not None
    assert set(found) == {image_id for (image_id,) in every}


def test_a_folder_is_found_without_reading_every_path(store: SqliteStore, library: Library) -> None:
    library.add("june/a.png")
    with store._database.read() as connection:
        sql, bound = build_condition(connection, _is("path", "june/*"))
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM image WHERE {sql}", bound).fetchall()
    told = " ".join(str(row) for row in plan)
    assert "file_by_path (root_id=? AND display>? AND display<?)" in told


def test_schedules_and_samplers_are_found_by_their_indexes(store: SqliteStore, library: Library) -> None:
    for number, (sampler, schedule) in enumerate(
        (("DPM++ 2M Karras", None), ("DPM++ 2M", "Automatic"), ("Euler", "karras"), ("Euler", "Simple"))
    ):
        library.add(f"{number}.png", sampler=sampler, schedule=schedule)
    with store._database.read() as connection:
        for wanted in (_is("schedule", "karras"), _is("schedule", "simple"), _is("sampler", "DPM++ 2M Karras")):
            sql, bound = build_condition(connection, wanted)
            plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM image WHERE {sql}", bound).fetchall()
            assert "SCAN image" not in " ".join(str(row) for row in plan), (wanted, plan)


def test_a_condition_on_a_list_of_ids_is_one_condition() -> None:
    assert (
        id_subquery("(image.id IN (SELECT image_id FROM a WHERE b IN (1)))") == "SELECT image_id FROM a WHERE b IN (1)"
    )
    assert id_subquery("((image.id IN (SELECT image_id FROM a)) IS NOT TRUE)") is None
    assert id_subquery("(image.id IN (SELECT image_id FROM a) OR image.id IN (SELECT image_id FROM b))") is None
    assert id_subquery("(image.steps >= ?)") is None


def test_only_a_single_filter_uses_the_index_of_its_numbers(store: SqliteStore) -> None:
    wanted = _range("steps", "20", "30")

    def plan(alone: bool) -> str:
        with store._database.read() as connection:
            sql, bound = build_condition(connection, wanted, alone=alone)
            return str(connection.execute(f"EXPLAIN QUERY PLAN SELECT id FROM image WHERE {sql}", bound).fetchall())

    assert "COVERING INDEX image_by_steps" in plan(True)
    assert "SEARCH" not in plan(False)
