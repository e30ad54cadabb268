"""Scores in image metadata: indexed, filtered, sorted and shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexd.errors import UsageError
from indexd.fs.file_stamp import FileStamp
from indexd.images.image_reader import read_image
from indexd.search.query.filter_language import parse_filters
from indexd.search.query.query_embedder import FakeQueryEmbedder
from indexd.search.search import Search
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter, ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.fake_workers import fake_render
from indexd_schemas.api.requests import SearchRequest
from tests.support.recipes import render_call


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    """Four pictures: seeds 105, 109, 101 with scores (clip .05, .09, .01), and 103 without."""
    store = SqliteStore.open(tmp_path / "index.db")
    root = store.roots.ensure(os.fsencode(tmp_path), "images")
    for seed in (105, 109, 101, 103):
        scores = [] if seed == 103 else ["clip", "aesthetic", "sharpness"]
        path = tmp_path / f"{seed}.png"
        path.write_bytes(fake_render(render_call(prompt="a", seed=seed, score=scores, width=8)).encoded)
        with path.open("rb") as file:
            facts = read_image(file, path.stat().st_size, path.name)
        stamp = FileStamp(path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino)
        store.images.ingest([ScannedFile(root.id, os.fsencode(path.name), stamp, facts)], float(seed))
    yield store
    store.close()


def found(store: IndexStore, *filters: str, sort: str | None = None) -> list[str | None]:
    def never(_call: object) -> Any:
        raise AssertionError("nothing is embedded here")

    question = SearchRequest.model_validate({"filters": filters, "sort": sort})
    return [hit.image.seed for hit in Search(store, FakeQueryEmbedder(never)).query(question).hits]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("clip_score:>0.05", {"109"}),
        ("clip_score:>=0.05", {"105", "109"}),
        ("clip_score:<0.05", {"101"}),
        ("clip_score:0.01..0.05", {"101", "105"}),
        ("aesthetic:>5", {"109"}),
        ("sharpness:<=105", {"101", "105"}),
        ("has:aesthetic", {"101", "105", "109"}),
        ("-has:clip_score", {"103"}),
        ("-clip_score:>0.02", {"101", "103"}),
    ],
)
def test_filters_select_by_score(store: IndexStore, text: str, seeds: set[str]) -> None:
    assert set(found(store, text)) == seeds


@pytest.mark.parametrize("sort", ["clip_score", "aesthetic", "sharpness"])
def test_results_sort_by_score_with_unscored_images_last(store: IndexStore, sort: str) -> None:
    assert found(store, sort=sort) == ["109", "105", "101", "103"]


def test_scores_are_shown_and_survive_a_reparse(store: IndexStore) -> None:
    [hit] = Search(store, FakeQueryEmbedder(lambda _call: None)).query(SearchRequest(filters=("seed:105",))).hits  # type: ignore[arg-type, return-value]
    assert hit.image.scores == {"clip": 0.05, "aesthetic": 5.0, "sharpness": 105.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps:>30", Filter("steps", "..", low="31")),
        ("steps:>=30", Filter("steps", "..", low="30")),
        ("rating:<3", Filter("rating", "..", high="2")),
        ("cfg:<=7.5", Filter("cfg", "..", high="7.5")),
        ("seed:>18446744073709551614", Filter("seed", "..", low="18446744073709551615")),
    ],
)
def test_comparisons_become_ranges(text: str, expected: Filter) -> None:
    assert parse_filters([text]) == [expected]


@pytest.mark.parametrize("text", ["steps:>", "steps:>many", "steps:<0", "cfg:>="])
def test_comparisons_without_a_number_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_filters([text])
