"""Every call has a result type."""

from __future__ import annotations

from typing import get_args

from indexd.worker.calls import AnyCall, RunFunction, SelfTest
from indexd.worker.result_validation import RESULT_TYPES


def test_every_call_has_a_result_type_unless_it_may_return_anything() -> None:
    assert set(RESULT_TYPES) == set(get_args(AnyCall)) - {SelfTest, RunFunction}
