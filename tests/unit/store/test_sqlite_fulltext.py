"""Full-text queries treat any input as data."""

from __future__ import annotations

import pytest

from indexd.store.protocols import IndexStore
from indexd.store.sqlite.library import fulltext as fulltext_module
from indexd.store.sqlite.library.fulltext import match_expression
from tests.unit.store.sample_rows import Library


def test_beyond_the_ranked_hits_the_newest_come_first(
    store: IndexStore, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fulltext_module, "MAX_RANKED_HITS", 5)
    ids = library.add_many(6, prompt="cat")
    assert store.fulltext.match("cat", 3) == [(ids[5], 0.0), (ids[4], 0.0), (ids[3], 0.0)]
    assert store.fulltext.match("cat", 3, ids[:2]) == [(ids[1], 0.0), (ids[0], 0.0)]


def test_the_expression_quotes_every_word() -> None:
    assert match_expression('one "two three"* four*', ["prompt"]) == '{prompt} : ("one" AND "two three"* AND "four"*)'


@pytest.mark.parametrize("ranked", [True, False])
def test_a_large_set_of_candidates_gives_the_same_hits(
    store: IndexStore, library: Library, monkeypatch: pytest.MonkeyPatch, ranked: bool
) -> None:
    ids = [library.add(f"{number}.png", prompt="a fox " * (number % 3 + 1)) for number in range(12)]
    others = library.add("other.png", prompt="a cat")
    if not ranked:
        monkeypatch.setattr(fulltext_module, "MAX_RANKED_HITS", 5)
    among = {*ids[::2], others}
    expected = store.fulltext.match("fox", 4, among)
    assert len(expected) == 4
    monkeypatch.setattr(fulltext_module, "MAX_JSON_IDS", 3)
    assert store.fulltext.match("fox", 4, among) == expected
