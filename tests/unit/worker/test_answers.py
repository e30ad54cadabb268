"""What answers which call."""

from __future__ import annotations

from typing import get_args

from indexd.worker.calls import AnyCall, SelfTest
from indexd.worker.result_validation import RESULT_TYPES


def test_every_call_has_its_answer() -> None:
    assert set(RESULT_TYPES) == set(get_args(AnyCall)) - {SelfTest}
