"""Videos of ComfyUI: their metadata is read from the container alone, and PyAV decodes the first frame."""

from __future__ import annotations

import builtins
import io
import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexd.errors import NotAnImage
from indexd.image_metadata.errors import UnreadableImage
from indexd.images.decode import decode_bytes, open_image
from indexd.watch.watch_filter import WatchFilter
from indexd_schemas.settings import RootSettings, WatchSettings
from tests.unit.image_metadata.video_writers import box, comment, element, mp4, tags, webm
from tests.unit.image_metadata.writers import facts

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "toy.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a walking dog", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 8}},
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 5,
            "steps": 20,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveVideo", "inputs": {"images": ["6", 0]}},
}
WORDS = json.dumps(GRAPH)
BOTH = json.dumps({"prompt": WORDS, "workflow": {"nodes": []}})


@pytest.mark.parametrize(
    ("data", "format_name"),
    [
        (mp4(comment(BOTH)), "MP4"),
        (mp4(tags({"prompt": WORDS, "workflow": "{}"})), "MP4"),
        (mp4(box(b"udta", tags({"prompt": WORDS}))), "MP4"),
        (mp4(comment(BOTH), brand=b"qt  "), "MP4"),
        (webm({"PROMPT": WORDS, "WORKFLOW": "{}"}), "WEBM"),
        (webm({"COMMENT": BOTH}), "WEBM"),
    ],
    ids=["comment", "tags", "tags in udta", "QuickTime", "WebM", "WebM comment"],
)
def test_the_graph_in_a_video_is_read(data: bytes, format_name: str) -> None:
    found = facts(data)
    assert (found.format, found.width, found.height) == (format_name, 64, 48)
    metadata = found.metadata
    assert (metadata.generator, metadata.prompt, metadata.negative_prompt) == ("comfyui", "a walking dog", "blurry")
    assert (metadata.seed, metadata.steps, metadata.cfg, metadata.model_name) == ("5", 20, 4.0, "toy")
    assert metadata.problem is None


def test_frames_are_counted_and_a_cut_video_is_told() -> None:
    data = mp4()
    assert facts(data).frame_count == 3
    cut = facts(data + struct.pack(">I", 5000) + b"mdat" + bytes(100))
    assert "cut off" in (cut.metadata.problem or "")


@pytest.mark.parametrize(
    "data",
    [
        box(b"ftyp", b"isom", bytes(4)),
        box(b"ftyp", b"isom", bytes(4)) + box(b"moov", box(b"trak", box(b"tkhd", bytes(84)))),
        element(0x1A45DFA3, b""),
        webm({}, (0, 0)),
        b"\x1aE\xdf\xa3\xff\xff\xff",
    ],
)
def test_a_video_without_a_size_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        facts(data)


def test_a_heic_is_no_video() -> None:
    with pytest.raises(UnreadableImage, match="none of"):
        facts(box(b"ftyp", b"heic", bytes(4), b"mif1heic") + bytes(100))


def test_nested_boxes_end() -> None:
    data = b""
    for _ in range(500):
        data = box(b"trak", box(b"mdia", data))
    with pytest.raises(UnreadableImage):
        facts(box(b"ftyp", b"isom", bytes(4)) + box(b"moov", data))


def test_videos_are_watched_only_where_the_settings_say_so() -> None:
    root = RootSettings(path="/images")
    off = WatchFilter.from_settings(root, WatchSettings())
    on = WatchFilter.from_settings(root, WatchSettings(videos=True))
    for name in ("a.mp4", "A.WEBM", "b.mov", "c.mkv"):
        assert "[watch] videos" in (off.exclusion_reason(name.encode()) or "")
        assert on.includes_path(name.encode())
    assert on.includes_path(b"a.png")
    assert not on.includes_path(b"a.avi")


def test_without_pyav_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(NotAnImage, match=r"pip install 'indexd\[video\]'"):
        decode_bytes(mp4())


def rendered(path: Path, codec: str, metadata: dict[str, str], **options: str) -> Path:
    """Five frames of growing brightness, written by FFmpeg."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (40 * number + 20,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "mpeg4", {"movflags": "use_metadata_tags"}), ("a.mp4", "mpeg4", {}), ("a.webm", "libvpx-vp9", {})],
)
def test_what_ffmpeg_writes_is_read_and_shown(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    named = {"comment": BOTH} if name == "a.mp4" and not options else {"prompt": WORDS, "workflow": "{}"}
    path = rendered(tmp_path / name, codec, named, **options)
    found = facts(path.read_bytes())
    assert (found.metadata.prompt, found.metadata.seed, found.width, found.height) == ("a walking dog", "5", 64, 48)
    shown = open_image(path)
    assert shown.size == (64, 48)
    assert abs(float(np.asarray(shown).mean()) - 20) < 12


def test_a_damaged_video_has_a_reason(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    with pytest.raises(NotAnImage, match="cannot be decoded"):
        decode_bytes(mp4(comment(BOTH)))


@pytest.mark.parametrize("format_name", ["WEBP", "PNG"])
def test_an_animated_image_shows_its_first_frame(format_name: str) -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), (shade,) * 3) for shade in (20, 120, 220)]
    frames[0].save(file, format_name, save_all=True, append_images=frames[1:], lossless=True)
    assert facts(file.getvalue()).frame_count == 3
    assert decode_bytes(file.getvalue()).image.convert("RGB").getpixel((5, 5)) == (20, 20, 20)
