"""Reading one image completely (hash, header, texts, metadata), compared with reading its bytes and blake3.

Uses the corpus of real files beside the checkout if present, else generated images of a usual size. Each file counts with
its median over several reads, with a warm page cache in both columns.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blake3 import blake3
from PIL import Image, PngImagePlugin

from bench.support import report
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.file_reader import read_image

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus" / "metadata"
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif"))
INFOTEXT = (
    "masterpiece, 1girl, solo, <lora:style:0.8>\nNegative prompt: worst quality, bad anatomy\n"
    "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6, Seed: 3782896554, Size: 1024x1024, "
    'Model hash: 45a21ea00a, Model: some, Lora hashes: "style: 0123abcd", Version: v1.10.1'
)
COMFY_GRAPH = json.dumps(
    {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 813617545434765,
                "steps": 20,
                "cfg": 5.0,
                "sampler_name": "euler",
                "scheduler": "karras",
                "denoise": 1.0,
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "masterpiece, 1girl", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "worst quality", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=CORPUS, help="the images to read")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slowest", type=int, default=0, help="also print this many of the slowest files")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        files = sorted(path for path in wanted.folder.rglob("*") if path.suffix in SUFFIXES) or _make_images(Path(made))
        rows = [
            (_seconds(_read_metadata, path, wanted.rounds), _seconds(_read_bytes, path, wanted.rounds), path)
            for path in files
        ]
    ours, floor = statistics.median(row[0] for row in rows), statistics.median(row[1] for row in rows)
    report.print_result(
        f"one image, median of {len(rows)} files", 1000 * ours, "ms", 1000 * floor, "read + blake3", "<= 1 ms"
    )
    worst = sorted(row[0] for row in rows)[int(0.95 * (len(rows) - 1))]
    report.print_result("one image, 95 % of the files", 1000 * worst, "ms")
    for seconds, bare, path in sorted(rows, reverse=True)[: wanted.slowest]:
        report.print_result(path.name, 1000 * seconds, "ms", 1000 * bare, "read + blake3")


def _seconds(work: Callable[[Path], object], path: Path, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work(path)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _read_metadata(path: Path) -> None:
    with open(path, "rb") as file:
        try:
            read_image(file, path.stat().st_size, path.name)
        except UnreadableImage:
            return


def _read_bytes(path: Path) -> None:
    with open(path, "rb") as file:
        blake3(file.read()).digest()


def _make_images(folder: Path) -> list[Path]:
    """Images of 1024x1024 like real ones: noise over colours, so that they compress like photographs."""
    rough = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    picture = Image.fromarray(rough).resize((1024, 1024), Image.Resampling.BICUBIC)
    for number in range(8):
        chunks = PngImagePlugin.PngInfo()
        if number % 2:
            chunks.add_text("parameters", INFOTEXT)
        else:
            chunks.add_text("prompt", COMFY_GRAPH)
            chunks.add_text("workflow", json.dumps({"nodes": [], "notes": "x" * 30_000}))
        picture.save(folder / f"{number}.png", pnginfo=chunks, compress_level=1)
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + INFOTEXT.encode("utf-16-be")
        for suffix in ("jpg", "webp"):
            out = io.BytesIO()
            picture.save(out, {"jpg": "JPEG", "webp": "WEBP"}[suffix], exif=exif.tobytes())
            (folder / f"{number}.{suffix}").write_bytes(out.getvalue())
    return sorted(folder.iterdir())


if __name__ == "__main__":
    main()
