"""Home folders for benchmarks: a library of any size on the disk, with chosen settings."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.containers import png
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.images.perceptual_hash import HASH_VERSION
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore

FILES_PER_FOLDER = 500
BATCH = 1000
INSTALLED_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}
"""For programs whose start is timed: installed ones are compiled once and not at every start, which took a third of it."""


@contextlib.contextmanager
def temporary_home(settings: str = "") -> Iterator[Path]:
    """A temporary home with this settings file."""
    folder = Path(tempfile.mkdtemp(prefix="indexd-bench-"))
    (folder / "indexd.toml").write_text(settings, "utf-8")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_python(program: str, *arguments: str) -> str:
    """Output of a program in a new Python process, so that this process loads none of its modules."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    ).stdout


def tiny_model(folder: Path, which: str) -> str:
    """Path of one of the tests' tiny models, by its name in TinyModels. Builds all of them in `folder`."""
    program = """
import pathlib, sys
from tests.support.tiny_models.models import build_models
print(getattr(build_models(pathlib.Path(sys.argv[1])), sys.argv[2]))
"""
    return run_python(program, str(folder), which).splitlines()[-1]


def write_files(folder: Path, count: int) -> list[Path]:
    """Write `count` small files (each a valid one-pixel PNG with its own text), FILES_A_FOLDER to a folder."""
    paths = []
    for number in range(count):
        parent = folder / f"{number // FILES_PER_FOLDER:05}"
        if number % FILES_PER_FOLDER == 0:
            parent.mkdir(parents=True, exist_ok=True)
        path = parent / f"{number:07}.png"
        path.write_bytes(tiny_png(number))
        paths.append(path)
    return paths


def tiny_png(number: int) -> bytes:
    """A one-pixel grey PNG with A1111-style text."""
    text = f"a lighthouse number {number}\nNegative prompt: blurred\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {number}, Size: 1x1"
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"tEXt", b"parameters\0" + text.encode()),
        (b"IDAT", zlib.compress(b"\0\x80")),
        (b"IEND", b""),
    )
    return png.SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def index_files(index: Path, root: Path, paths: list[Path], purpose: str = "images") -> None:
    """Record files as already read and without index tasks: a completely indexed library."""
    store = SqliteStore.open(index)
    # Set before the images are recorded: the daemon would recompute the thumbnails of a library with an unknown hash version.
    store.perceptual_hashes.activate(HASH_VERSION, "thumbnail")
    root_id = store.roots.ensure(os.fsencode(root), purpose).id
    for start in range(0, len(paths), BATCH):
        sightings = []
        for number, path in enumerate(paths[start : start + BATCH], start):
            facts = ImageFacts(
                content_hash=blake2b(str(number).encode(), digest_size=32).digest(),
                byte_count=100,
                format="PNG",
                width=1,
                height=1,
                frame_count=1,
                metadata=ImageMetadata(
                    generator="A1111",
                    prompt=f"a lighthouse number {number}",
                    seed=str(number),
                    steps=20,
                    cfg=7.0,
                    sampler="Euler a",
                ),
            )
            rel = os.fsencode(path.relative_to(root).as_posix())
            sightings.append(ScannedFile(root_id, rel, FileStamp.from_stat(path.stat()), facts))
        store.images.ingest(sightings, time.time())
    store.close()
