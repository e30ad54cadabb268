"""No file handle is left, at every single moment of reading a picture: it is read later, with what stands beside it."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from indexd import ingest
from indexd.fs.file_stamp import FileStamp, SettledFile
from indexd.fs.safe_open import open_regular
from indexd.images.sidecar_texts import read_sidecars
from indexd.ingest import IngestPipeline
from indexd.registry import IngestContext
from indexd.store.protocols import IndexStore
from indexd.store.records import IngestResult
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.settings import Settings
from tests.support.handle_shortage import HandleShortage, refuse_each
from tests.support.scanning import scan_image

TEXT = "a lighthouse\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64"
WAIT_SECONDS = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    with SqliteStore.open(tmp_path / "index.db") as store:
        yield store


@pytest.mark.parametrize("count", [1, 3])
def test_a_picture_is_read_with_its_texts_whenever_handles_are_refused(
    store: IndexStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    root = store.roots.ensure(str(folder).encode(), "images")
    monkeypatch.setattr(ingest, "RETRY_SECONDS", 0.001)
    recorded: list[IngestResult] = []
    bugs: list[BaseException] = []
    takes = IngestPipeline(store, IngestContext(Settings()), recorded.extend, bugs.append, readers=1)
    shortage = HandleShortage(monkeypatch)
    takes.start()
    try:
        for number in refuse_each(shortage, count):
            with shortage.paused():
                path = folder / f"{number}.png"
                Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
                path.with_suffix(".txt").write_text(TEXT)
            takes.deliver(
                SettledFile(root.id, root.path, path.name.encode(), FileStamp.from_stat(path.stat()), "images")
            )
            _until(lambda number=number: len(recorded) > number)  # type: ignore[misc]
            with shortage.paused():
                row = store.images.rows([recorded[-1].image_id or 0])[recorded[-1].image_id or 0]
                assert row.prompt == "a lighthouse", number
    finally:
        shortage.refuse(0, 0)
        takes.stop()
    assert bugs == []
    assert number >= 2


@pytest.mark.parametrize("beside", ["a.txt", "log.html"])
def test_a_text_on_a_bad_sector_does_not_keep_its_picture_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text("{}")

    class BadSector(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def opens(path: bytes) -> BinaryIO:
        return BadSector() if path.endswith(beside.encode()) else open_regular(path)

    monkeypatch.setattr("indexd.images.sidecar_bytes.open_regular", opens)
    stamp = FileStamp.from_stat((tmp_path / "a.png").stat())
    sighting = scan_image(SettledFile(1, str(tmp_path).encode(), b"a.png", stamp, "images"), IngestContext(Settings()))
    assert sighting.facts is not None
    assert sighting.problem is None
    assert [chunk.key for chunk in read_sidecars(str(tmp_path / "a.png").encode())] == ["sidecar:json"]


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)
