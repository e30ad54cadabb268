"""docs/glossary.md: each term has one row, and the rows are in alphabetical order."""

from __future__ import annotations

import re

from tests.support.paths import REPOSITORY

TERMS = re.findall(r"^\| (?!term \|)(\w[^|]*) \|", (REPOSITORY / "docs" / "glossary.md").read_text("utf-8"), re.M)


def test_each_term_has_one_row_in_alphabetical_order() -> None:
    assert len(TERMS) > 25
    assert sorted(set(TERMS), key=lambda term: term.partition(",")[0]) == TERMS
