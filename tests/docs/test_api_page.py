"""docs/api.md names everything that the local door answers."""

from __future__ import annotations

import re
from pathlib import Path

from indexd.api.http.routes import TABLE

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


def test_every_path_is_in_the_table() -> None:
    named = {path.partition("?")[0] for path in re.findall(r"`(?:GET |POST )?(/[^` ]+)`", PAGE)}
    assert {path for _, path, _ in TABLE} - named == set()
