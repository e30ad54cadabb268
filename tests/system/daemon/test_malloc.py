"""Memory of the C library: one area for all threads, and given back. In processes of their own, for it cannot be undone."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library has these knobs")

COMMON = """
import ctypes, os, tempfile, threading
from indexd import malloc
from indexd.api.metrics import resident_bytes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
"""
AREAS = """
malloc.limit_arenas()
waiting = threading.Barrier(9)
def allocate():
    libc.malloc(1000)
    waiting.wait()
    waiting.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
waiting.wait()
libc.fopen.restype, libc.fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
with tempfile.NamedTemporaryFile() as said:
    stream = libc.fopen(said.name.encode(), b"w")
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(said.read().count(b"<heap "))
waiting.wait()
"""
HOLES = """
full = [libc.malloc(100_000) for _ in range(400)]
for place in full:
    ctypes.memset(place, 1, 100_000)
held = resident_bytes(os.getpid())
for place in full[:-1]:
    libc.free(place)
malloc.trim_heap()
print(held - resident_bytes(os.getpid()))
"""


def _said(program: str) -> int:
    ended = subprocess.run([sys.executable, "-c", COMMON + program], capture_output=True, text=True, check=True)
    return int(ended.stdout)


def test_all_threads_share_one_area() -> None:
    assert _said(AREAS) == 1
    assert _said(AREAS.replace("malloc.limit_arenas()", "")) > 1


def test_what_is_free_below_something_in_use_goes_back() -> None:
    assert _said(HOLES) > 35_000_000
    assert _said(HOLES.replace("malloc.trim_heap()", "")) < 5_000_000
