"""Processor time to bring one image to all its consumers: one decode with the pixels kept, against a decode for each."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.support import homes, report
from indexd.images.decode import make_thumbnails, open_image
from indexd.images.pixel_file import pixel_file_path, write_pixels
from indexd.models.image_inputs import iterate_images
from indexd.worker.calls import MakeThumbnails

SIZES = {"1024x1024": (1024, 1024), "4K": (3840, 2160)}
THUMBNAIL_PX = 384
MODEL_STAGES = 2  # CLIP and the detectors


def main() -> None:
    """Run the benchmark and print its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with homes.temporary_home() as home:
        for name, size in SIZES.items():
            for suffix in ("png", "jpg"):
                paths = _write_images(home / f"{name}-{suffix}", suffix, size, options.images)
                folder = home / f"{name}-{suffix}-pixels"
                for what, separate, once in (
                    ("decode work", _decode_for_each, _decode_once),
                    ("with thumbnail and hash", _index_separately, _index_once),
                ):
                    rounds = [folder / what / str(number) for number in range(options.rounds)]
                    apart = min(_cpu_milliseconds(paths, separate, one / "apart") for one in rounds)
                    shared = min(_cpu_milliseconds(paths, once, one / "once") for one in rounds)
                    report.print_result(
                        f"{what}, {name} {suffix}", shared, "ms CPU", apart, "a decode for each consumer"
                    )


def _decode_for_each(paths: Sequence[bytes], _folder: Path) -> None:
    for _ in range(1 + MODEL_STAGES):
        for path in paths:
            open_image(path)


def _decode_once(paths: Sequence[bytes], folder: Path) -> None:
    """The decode, and what it takes to give the pixels to the other consumers."""
    for path, content_hash in _sources(paths):
        assert write_pixels(open_image(path), str(folder), content_hash)
    for _ in range(MODEL_STAGES):
        _read_all(paths, [pixel_file_path(str(folder), content_hash) for _, content_hash in _sources(paths)])


def _index_separately(paths: Sequence[bytes], folder: Path) -> None:
    made = make_thumbnails(MakeThumbnails(_sources(paths), str(folder), THUMBNAIL_PX))
    assert not made.problems
    for _ in range(MODEL_STAGES):
        _read_all(paths, ())


def _index_once(paths: Sequence[bytes], folder: Path) -> None:
    pixels = str(folder / "pixels")
    sources = _sources(paths)
    keep = frozenset(range(len(sources)))
    made = make_thumbnails(MakeThumbnails(sources, str(folder), THUMBNAIL_PX, pixels, keep))
    assert len(made.pixel_bytes) == len(paths), made.problems
    for _ in range(MODEL_STAGES):
        _read_all(paths, [pixel_file_path(pixels, content_hash) for _, content_hash in sources])


def _read_all(paths: Sequence[bytes], pixel_files: Sequence[str]) -> None:
    problems: dict[int, str] = {}
    count = sum(len(group) for group in iterate_images(paths, pixel_files, 4, problems))
    assert count == len(paths), problems


def _cpu_milliseconds(paths: Sequence[bytes], work: Callable[[Sequence[bytes], Path], None], folder: Path) -> float:
    """Processor time an image."""
    began = time.process_time()
    work(paths, folder)
    return 1000 * (time.process_time() - began) / len(paths)


def _sources(paths: Sequence[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((path, number.to_bytes(32, "big")) for number, path in enumerate(paths))


def _write_images(folder: Path, suffix: str, size: tuple[int, int], count: int) -> list[bytes]:
    """Smooth colours with a little noise: they compress about as well as generated images."""
    folder.mkdir()
    numbers = np.random.default_rng(1)
    paths = []
    for number in range(count):
        coarse = numbers.integers(0, 256, (size[1] // 16, size[0] // 16, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.float32)
        pixels = (smooth + numbers.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / f"{number}.{suffix}"
        Image.fromarray(pixels).save(path)
        paths.append(os.fsencode(path))
    return paths


if __name__ == "__main__":
    main()
