"""Small files made to take much memory or time: each is read within the budget of one file, or refused with a reason."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from indexd.image_metadata.budget import JSON_VALUES_MAX, PROBLEM_CHARACTERS_MAX
from tests.unit.image_metadata.writers import SIGNATURE, chunk, facts, jpeg, png, segment, ztxt

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "bombs"
CPU_SECONDS = 5
MEMORY_MIB = 400

READ = """
import resource, sys, time
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.file_reader import read_image
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF)
with open(sys.argv[1], "rb") as file:
    try:
        read_image(file, len(data), "bomb")
    except UnreadableImage:
        pass
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, (after.ru_maxrss - before.ru_maxrss) >> 10)
"""


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def nested_subgraphs() -> bytes:
    subgraphs = [
        {"id": f"s{level}", "nodes": [{"id": place, "type": f"s{level + 1}"} for place in range(60)], "links": []}
        for level in range(7)
    ]
    workflow = {
        "nodes": [{"id": 1, "type": "s0"}],
        "definitions": {"subgraphs": [*subgraphs, {"id": "s7", "nodes": []}]},
    }
    return png(ztxt("workflow", json.dumps(workflow).encode()))


def item_locations_without_width() -> bytes:
    extents = b"".join(struct.pack(">HHH", item, 0, 0xFFFF) for item in range(2000))
    iloc = box(b"iloc", b"\0\0\0\0" + b"\0\0" + struct.pack(">H", 2000) + extents)
    return box(b"ftyp", b"avif\0\0\0\0avif") + box(b"meta", b"\0\0\0\0" + iloc)


def wide_rows() -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64_000_000, 4, 8, 6, 0, 0, 0))
    return SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(256 << 20), 9)) + chunk(b"IEND", b"")


def spaced_profile() -> bytes:
    return png(ztxt("Raw profile type exif", b"\nexif\n9\n" + b"a " * (8 << 20)))


def empty_lists() -> bytes:
    return png(ztxt("prompt", b"[" + b"[]," * (5 << 20) + b"[]]"))


def many_links() -> bytes:
    link = b"[1,1,0,1,0,0],"
    return png(ztxt("workflow", b'{"nodes":[{"id":1,"type":"a"}],"links":[' + link * (1 << 20) + b"[]]}"))


def links_below_the_limit() -> bytes:
    links = [[1, place % 4000, 0, (place * 7) % 4000, place % 50] for place in range(JSON_VALUES_MAX // 8)]
    nodes = [{"id": place, "type": "Reroute"} for place in range(4000)]
    return png(ztxt("workflow", json.dumps({"nodes": nodes, "links": links}).encode()))


def overlapping_directories() -> bytes:
    entry = struct.pack(">HHII", 0x010E, 2, 60_000, 8)
    body = b"".join(struct.pack(">H", 900) + entry * 900 + struct.pack(">I", 8 + 2 * place) for place in range(200))
    return b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", 900) + body


def upscalers_in_a_chain() -> bytes:
    nodes = {
        str(place): {
            "class_type": "Upscale",
            "inputs": {"upscale_model": [str(place - 1), 0], "image": [str(place - 1), 0]},
        }
        for place in range(1, 4000)
    }
    nodes["0"] = {"class_type": "LoadImage", "inputs": {}}
    for place in range(40):
        inputs = {"seed": 1, "steps": 1, "model": ["3999", 0], "positive": ["3999", 0], "latent_image": ["3999", 0]}
        nodes[f"k{place}"] = {"class_type": "KSampler", "inputs": inputs}
        nodes[f"s{place}"] = {"class_type": "SaveImage", "inputs": {"images": [f"k{place}", 0]}}
    return png(ztxt("prompt", json.dumps(nodes).encode()))


def doubling_texts() -> bytes:
    nodes = {"0": {"class_type": "Text", "inputs": {"text": "x" * 100_000}}}
    for place in range(1, 60):
        nodes[str(place)] = {"class_type": "Concat", "inputs": {"a": [str(place - 1), 0], "b": [str(place - 1), 0]}}
    nodes["c"] = {"class_type": "CLIPTextEncode", "inputs": {"text": ["59", 0]}}
    nodes["k"] = {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 1, "model": ["c", 0], "positive": ["c", 0]}}
    return png(ztxt("prompt", json.dumps(nodes).encode()))


def damaged_streams() -> bytes:
    stream = zlib.compress(bytes(16 << 20), 9)[:-8] + b"damaged!"
    return png(*(chunk(b"zTXt", b"a\0\0" + stream) for _ in range(180)))


MADE = {
    maker.__name__: maker
    for maker in (
        nested_subgraphs,
        item_locations_without_width,
        wide_rows,
        spaced_profile,
        empty_lists,
        many_links,
        links_below_the_limit,
        overlapping_directories,
        upscalers_in_a_chain,
        doubling_texts,
        damaged_streams,
    )
}


def measure(path: Path) -> tuple[float, int]:
    """Seconds of processor time and MiB of memory that reading the file takes in a process of its own."""
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, mebibytes = done.stdout.split()
    return float(seconds), int(mebibytes)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("name", MADE)
def test_a_made_bomb_is_read_within_bounds(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(MADE[name]())
    seconds, mebibytes = measure(path)
    assert seconds < CPU_SECONDS
    assert mebibytes < MEMORY_MIB


@pytest.mark.skipif(not CASES.is_dir(), reason=f"the bombs are not at {CASES}")
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_the_bombs_that_were_found_are_read_within_bounds() -> None:
    for path in sorted(CASES.iterdir()):
        seconds, mebibytes = measure(path)
        assert (seconds < CPU_SECONDS, mebibytes < MEMORY_MIB) == (True, True), path.name


def test_a_fault_that_repeats_is_named_once() -> None:
    broken = segment(0xE1, b"Exif\0\0nonsense")
    problem = facts(jpeg(extra=broken * 15_000)).metadata.problem
    assert problem is not None
    assert len(problem) <= PROBLEM_CHARACTERS_MAX
    many = facts(png(*(chunk(b"zTXt", b"%d\0\0x" % number) for number in range(3000)))).metadata.problem
    assert many is not None
    assert len(many) <= PROBLEM_CHARACTERS_MAX


def test_a_text_with_too_many_values_is_named() -> None:
    assert "more JSON values" in (facts(empty_lists()).metadata.problem or "")
