"""What answers which call."""

from __future__ import annotations

from typing import get_args

from indexd.worker.answers import RESULTS
from indexd.worker.calls import AnyCall, Drill


def test_every_call_has_its_answer() -> None:
    assert set(RESULTS) == set(get_args(AnyCall)) - {Drill}
