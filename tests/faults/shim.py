"""Faults at the C library's door, without root: the shim is compiled once, and a running program is given orders."""

from __future__ import annotations

import errno
import functools
import mmap
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")
_FORM = "<iiiiqq472s"
_SIZE = struct.calcsize(_FORM)


@functools.cache
def _library() -> Path | str:
    """The compiled shim, or why there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        return "needs Linux and a C compiler"
    made = Path(tempfile.mkdtemp(prefix="indexd-shim-")) / "shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return made if done.returncode == 0 else f"the shim cannot be compiled: {done.stderr.strip()}"


class Shim:
    """Orders for programs that run with `environment`. One order at a time; `mend` takes it back."""

    def __init__(self, folder: Path) -> None:
        library = _library()
        if isinstance(library, str):
            pytest.skip(library)
        path = folder / "faults"
        path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self.environment = {"LD_PRELOAD": str(library), "INDEXD_FAULTS": str(path)}

    @property
    def injected(self) -> int:
        """How many calls failed on order so far."""
        return int(struct.unpack(_FORM, self._map)[5])

    def order(
        self,
        part: str = "",
        *,
        read: int = 0,
        write: int = 0,
        open: int = 0,  # noqa: A002
        slow_ms: int = 0,
        clock: int = 0,
    ) -> None:
        """Calls on paths that contain `part` fail with these error numbers, or are slow; the clock is `clock` s ahead."""
        text = part.encode()
        self._map[: struct.calcsize("<iiii")] = struct.pack("<iiii", 0, 0, 0, 0)
        self._map[_SIZE - 472 :] = text.ljust(472, b"\0")
        self._map[16:24] = struct.pack("<q", clock)
        self._map[:16] = struct.pack("<iiii", read, write, open, slow_ms)

    def full(self, part: str) -> None:
        """The disk of these paths takes no more."""
        self.order(part, write=errno.ENOSPC)

    def mend(self) -> None:
        """Everything works again."""
        self.order()
