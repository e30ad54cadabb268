"""What came with a file must not command the terminal it is shown on."""

from __future__ import annotations

import json
from pathlib import Path

from indexd.cli.support.printing import sanitize_text
from indexd.config import read_config
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd

NASTY = "a\x1b]0;owned\x07 fox\x9b2J \u202egnp.exe"


def test_commands_to_the_terminal_are_shown_and_not_sent() -> None:
    assert sanitize_text(NASTY) == "a\ufffd]0;owned\ufffd fox\ufffd2J \ufffdgnp.exe"
    assert sanitize_text("line\n\ttab ü 狐 🦊") == "line\n\ttab ü 狐 🦊"


def test_show_and_query_are_clean_for_people_and_exact_for_programs(
    indexd: Indexd, library: SampleLibrary, home: Path
) -> None:
    with SqliteStore.open(read_config(home).paths.index) as store:
        store.annotations.note([library.ids["cats/cat-1.png"]], NASTY)
    path = library.path("cats/cat-1.png")
    shown = indexd("show", path).out
    assert "owned" in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert json.loads(indexd("show", path, "--json").out)["image"]["note"] == NASTY
