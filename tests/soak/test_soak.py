"""A short soak: everything mixed, faults at random with a seed that is printed. `make soak` runs it for an hour."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("limits, signals and the shim are Linux", allow_module_level=True)

from tests.soak.run_soak import Soak

MINUTES = float(os.environ.get("INDEXD_SOAK_MINUTES", "5"))


@pytest.mark.timeout(60 * MINUTES + 2400)
def test_whatever_happens_ledger_folders_and_index_agree() -> None:
    seed = int(os.environ.get("INDEXD_SOAK_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"seed {seed}; the same again with INDEXD_SOAK_SEED={seed}")  # noqa: T201
    home = Path(tempfile.mkdtemp(prefix="indexd-soak-"))  # short, because it holds a socket
    report = Soak(home, seed, MINUTES).run()
    print(report.text())  # noqa: T201
    assert report.losses == [], f"the home is kept: {home}"
    assert sum(report.faults.values()) > 0
    shutil.rmtree(home, ignore_errors=True)
