"""Detection of open writers by the kernel."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from indexd.watch.settle_probe import GONE, FileProbe, probe_file
from tests.unit.watch.manual_root import stamp_of

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="read leases are Linux's")


@linux_only
def test_an_open_writer_is_detected_until_it_closes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        assert probe_file(os.fsencode(path), use_leases=True) == FileProbe(stamp_of(path), True)
    assert probe_file(os.fsencode(path), use_leases=True) == FileProbe(stamp_of(path), False)


@linux_only
def test_detection_does_not_block_a_writer(tmp_path: Path) -> None:
    """The default action of SIGIO would end this process if the lease were broken with it."""
    if sys.platform != "linux":
        pytest.skip("leases are a Linux facility")
    path = tmp_path / "x"
    path.write_bytes(b"data")
    assert signal.getsignal(signal.SIGIO) == signal.SIG_DFL
    for _ in range(1000):
        probe_file(os.fsencode(path), use_leases=True)
        with path.open("ab") as writer:
            writer.write(b".")


def test_without_leases_writers_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"data")
    assert probe_file(os.fsencode(path), use_leases=False) == FileProbe(stamp_of(path), None)
    assert probe_file(os.fsencode(path), use_leases=False, stable_inodes=False) == FileProbe(
        stamp_of(path)._replace(inode=0),
        None,
    )


@pytest.mark.parametrize("leases", [True, False])
def test_an_irregular_file_counts_as_absent(tmp_path: Path, leases: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("folder", "link", "none", "folder/none", "none/x"):
        assert probe_file(os.fsencode(tmp_path / name), use_leases=leases) == GONE
