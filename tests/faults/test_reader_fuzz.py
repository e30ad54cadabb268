"""Mutated files never end a reader process and never reach its ceilings.

`INDEXD_FUZZ_EXAMPLES=5000 INDEXD_FUZZ_SEED=7` reads more and other files; `python -m tests.faults.reader_fuzz` prints a report.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.faults.reader_fuzz import fuzz_readers

EXAMPLES = int(os.environ.get("INDEXD_FUZZ_EXAMPLES", "300"))
SEED = int(os.environ.get("INDEXD_FUZZ_SEED", "1"))


def test_mutated_files_end_no_reader_and_reach_no_ceiling(tmp_path: Path) -> None:
    report = fuzz_readers(EXAMPLES, SEED, tmp_path)
    assert report.examples == report.read + report.refused == EXAMPLES
    assert report.read
    assert report.refused
    assert (report.deaths, report.ceilings, report.faults) == (0, [], [])
