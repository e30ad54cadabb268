"""docs/api.md lists every operation."""

from __future__ import annotations

from indexd.api.http.openapi import operations_table
from indexd.api.operations.registry import all_operations
from tests.support.paths import DOCS

PAGE = (DOCS / "api.md").read_text("utf-8")


def test_the_table_of_operations_is_up_to_date() -> None:
    assert operations_table(all_operations()) in PAGE
