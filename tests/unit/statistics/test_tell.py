"""The statistics of a small library whose truth is known."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from indexd.cli.commands.stats import DEFAULT_KEYS, KEYS
from indexd.errors import IndexdError, UsageError
from indexd.image_metadata.model import MetadataLora
from indexd.statistics.statistics_plot import write_plot
from indexd.statistics.statistics_report import compute_statistics
from indexd.store.protocols import IndexStore
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.library_reports import FiveStarRow, StatisticsReport, StatsKey, StatsRequest
from tests.unit.store.sample_rows import Library


@pytest.fixture
def told(tmp_path: Path) -> Iterator[IndexStore]:
    """40 pictures: the pony ones have gold in the prompt and five stars, half of the others have three, half none."""
    store = SqliteStore.open(tmp_path / "index.db")
    library = Library(store, store.roots.ensure(b"/pictures", "images"))
    made = datetime.datetime(2026, 3, 15, 12, tzinfo=datetime.UTC).timestamp()
    for number in range(40):
        pony = number % 2 == 0
        image_id = library.add(
            f"{number}.png",
            prompt=f"{'gold' if pony else 'grey'}, masterpiece, a {number} thing",
            model_name="models/ponyXL.safetensors" if number % 4 == 0 else "ponyXL" if pony else "jugger",
            generator="a1111",
            sampler="Euler",
            steps=20,
            cfg=5.0,
            loras=(MetadataLora("oils", 0.5), MetadataLora("oils", 0.7), MetadataLora("ink")) if number < 10 else (),
            created_at=made + (0 if number < 30 else 31 * 86_400),
        )
        if pony:
            store.annotations.rate([image_id], 5)
        elif number % 4 == 1:
            store.annotations.rate([image_id], 3)
    yield store
    store.close()


def ask(store: IndexStore, **given: object) -> StatisticsReport:
    return compute_statistics(store, StatsRequest.model_validate(given))


def row(found: StatisticsReport, key: str, value: str) -> FiveStarRow:
    return next(one for one in found.five_stars if (one.key, one.value) == (key, value))


def test_counts_and_shares(told: IndexStore) -> None:
    found = ask(told, by=("model", "lora", "month"))
    assert (found.images, found.rated, found.ratings) == (40, 30, {"1": 0, "2": 0, "3": 10, "4": 0, "5": 20})
    assert found.mean_rating == pytest.approx(130 / 30, abs=1e-3)
    model, lora, month = found.tables
    # One model under two spellings is one model.
    assert [(one.value, one.images, one.share) for one in model.rows] == [("jugger", 20, 0.5), ("ponyXL", 20, 0.5)]
    assert model.rows[1].mean_rating == 5.0
    assert 130 / 30 < (model.rows[1].shrunk_rating or 0) < 5.0
    # A picture counts once for a LoRA that it names twice.
    assert [(one.value, one.images) for one in lora.rows] == [("ink", 10), ("oils", 10)]
    assert (lora.stated, lora.values, model.stated) == (10, 2, 40)
    assert [(one.value, one.images) for one in month.rows] == [("2026-03", 30), ("2026-04", 10)]


def test_what_five_stars_have_in_common(told: IndexStore) -> None:
    found = ask(told)
    pony, jugger = row(found, "model", "ponyXL"), row(found, "model", "jugger")
    assert (pony.five, pony.compared, pony.share, pony.others_share, pony.verdict) == (20, 20, 1.0, 0.0, "above")
    assert (jugger.five, jugger.compared, jugger.verdict) == (0, 10, "below")
    # Everybody has this sampler: there are no others to compare with.
    assert not [one for one in found.five_stars if one.key == "sampler"]


def test_the_rest_may_be_everybody(told: IndexStore) -> None:
    jugger = row(ask(told, rest="all"), "model", "jugger")
    assert (jugger.five, jugger.compared) == (0, 20)


def test_terms_that_go_with_five_stars(told: IndexStore) -> None:
    found = ask(told)
    assert [one.term for one in found.terms_for] == ["gold"]
    assert [one.term for one in found.terms_against] == ["grey"]
    assert found.terms_for[0].five == 20
    assert found.terms_for[0].others == 0


def test_filters_and_limits(told: IndexStore) -> None:
    found = ask(told, filters=("model:jugger", "date:2026-03"), by=("month", "tag"), limit=1)
    assert found.images == 15
    assert found.tables[1].rows == []
    assert any("no image has five stars" in note for note in found.notes)
    assert ask(told, filters=("model:nothing",)).images == 0
    with pytest.raises(UsageError):
        ask(told, filters=("modell:x",))


@pytest.mark.parametrize("key", get_args(StatsKey))
def test_every_key_can_be_counted(told: IndexStore, key: str) -> None:
    (table,) = ask(told, by=(key,)).tables
    assert table.key == key
    assert all(one.images > 0 for one in table.rows)


def test_the_command_offers_the_keys_of_the_contract() -> None:
    assert get_args(StatsKey) == KEYS
    assert StatsRequest().by == DEFAULT_KEYS


def test_everything_is_drawn(told: IndexStore, tmp_path: Path) -> None:
    target = tmp_path / "plot.png"
    write_plot(ask(told, by=("model",)), target)
    with Image.open(target) as few:
        few.load()
        height = few.height
    write_plot(ask(told, by=("model", "month", "lora")), target)
    with Image.open(target) as more:
        assert more.height > height
    with pytest.raises(IndexdError, match="cannot write the plot"):
        write_plot(ask(told), tmp_path / "no" / "such.png")
