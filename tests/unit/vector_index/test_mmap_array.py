"""Memory that comes as it is filled: Linux tells what is there, and in which pages more may come (proc(5), VmFlags)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from indexd.vector_index import code_matrix
from indexd.vector_index.code_matrix import BLOCK_ROWS, CodeMatrix
from indexd.vector_index.mmap_array import MmapArray
from indexd.vector_index.quantize import LENGTH_BYTES

SMALL, LARGE = "nh", "hg"
CODE_BYTES = 128 + LENGTH_BYTES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only here does /proc say")


def _mapping(array: np.ndarray) -> tuple[int, set[str]]:
    """The resident bytes of the mapping in which the array lies, and its flags."""
    address = array.ctypes.data
    for text in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text("ascii"), flags=re.MULTILINE):
        borders = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", text)
        if borders and int(borders[1], 16) <= address < int(borders[2], 16):
            resident, flags = (
                re.search(r"^Rss: +(\d+)", text, re.MULTILINE),
                re.search(r"^VmFlags:(.*)", text, re.MULTILINE),
            )
            return int(resident[1]) << 10 if resident else 0, set(flags[1].split()) if flags else set()
    raise AssertionError("the array lies nowhere")


def _blocks(matrix: CodeMatrix) -> list[np.ndarray]:
    return [matrix._lead_blocks[0], *(matrix._rest_blocks or ())[:1], matrix._length_blocks[0]]


def test_a_few_rows_take_a_few_pages() -> None:
    pages = MmapArray((BLOCK_ROWS, 8), np.uint64, huge_pages=False)
    assert pages.array.shape == (BLOCK_ROWS, 8)
    pages.array[:100] = 7
    resident, flags = _mapping(pages.array)
    assert resident <= 1 << 20
    assert int(pages.array[:200].sum()) == 100 * 8 * 7
    if flags & {SMALL, LARGE}:  # a kernel without large pages has neither
        assert SMALL in flags
        pages.use_huge_pages()
        assert LARGE in _mapping(pages.array)[1]


def test_an_array_outlives_its_pages() -> None:
    array = MmapArray((1000,), np.float32, huge_pages=True).array
    array[:] = 3
    assert array.sum() == 3000


def test_a_layer_of_few_pictures_is_small_and_one_of_many_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_matrix, "HUGE_PAGES_FROM_ROWS", 2000)
    matrix = CodeMatrix(CODE_BYTES)
    codes = np.random.default_rng(1).integers(0, 256, (2000, CODE_BYTES), dtype=np.uint8)
    matrix.put(np.arange(1, 1000), codes[:999])
    held = [_mapping(block) for block in _blocks(matrix)]
    assert sum(resident for resident, _ in held) <= 1 << 20
    assert not any(LARGE in flags for _, flags in held)
    matrix.put(np.arange(1000, 3000), codes)
    flags = [flags for _, flags in map(_mapping, _blocks(matrix))]
    assert all(LARGE in one for one in flags) or not any(one & {SMALL, LARGE} for one in flags)


def test_a_block_for_which_there_is_no_memory_is_left_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, ...]] = []

    class Scarce(MmapArray):
        def __init__(self, shape: tuple[int, ...], *arguments: object, **options: bool) -> None:
            if len(given) == 2:
                raise MemoryError(f"no memory for {shape}")
            given.append(shape)
            super().__init__(shape, *arguments, **options)  # type: ignore[arg-type]

    matrix = CodeMatrix(CODE_BYTES)
    ids, codes = np.arange(1, 11), np.random.default_rng(1).integers(0, 256, (10, CODE_BYTES), dtype=np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(code_matrix, "MmapArray", Scarce)
        with pytest.raises(MemoryError):
            matrix.put(ids, codes)
    assert len(matrix) == 0
    assert _blocks_of(matrix) == [0, 0, 0]
    matrix.put(ids, codes)
    assert len(matrix) == 10
    assert _blocks_of(matrix) == [1, 1, 1]


def _blocks_of(matrix: CodeMatrix) -> list[int]:
    return [len(blocks) for blocks in (matrix._lead_blocks, matrix._rest_blocks or (), matrix._length_blocks)]
