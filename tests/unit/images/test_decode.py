"""Decoding and thumbnails: bounded, upright, atomic, and a reason for every picture that cannot be shown."""

from __future__ import annotations

import io
import logging
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from bench.support.synthetic_images import scene_image
from indexd.errors import NotAnImage, NotRegularFile
from indexd.images import decode
from indexd.images.decode import create_thumbnail, make_thumbnails, open_image
from indexd.images.native_messages import native_messages
from indexd.images.perceptual_hash import HASH_BYTES
from indexd.images.thumbnail import thumbnail_path
from indexd.worker.calls import MakeThumbnails
from tests.unit.image_metadata.writers import SIGNATURE, chunk, png, text

HASH = bytes(range(32))


def saved(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 30), colour: Any = None, **options: Any) -> Path:
    Image.new(mode, size, colour).save(path, **options)
    return path


def saved_scene(path: Path) -> Path:
    """A picture with something in it."""
    scene_image(0, 0).save(path)
    return path


def test_a_thumbnail_lies_at_its_content(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", size=(600, 300))
    made = create_thumbnail(source, tmp_path / "small", HASH, 128)
    assert made == tmp_path / "small" / "00" / "01" / (HASH.hex() + ".webp") == thumbnail_path(tmp_path / "small", HASH)
    with Image.open(made) as opened:
        assert (opened.format, opened.size) == ("WEBP", (128, 64))
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_small_pictures_are_not_enlarged_and_alpha_stays(tmp_path: Path) -> None:
    made = create_thumbnail(saved(tmp_path / "a.png", "RGBA", (10, 5), (255, 0, 0, 0)), tmp_path, HASH, 128)
    with Image.open(made) as opened:
        assert (opened.size, opened.mode) == ((10, 5), "RGBA")


def test_one_bad_picture_does_not_stop_the_others(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.jpg", size=(900, 900))
    bad = tmp_path / "bad.png"
    bad.write_bytes(png()[:40])
    call = MakeThumbnails(
        tuple(
            (os.fsencode(path), bytes([number]) * 32)
            for number, path in enumerate((bad, good, tmp_path / "gone", tmp_path))
        ),
        str(tmp_path / "small"),
        64,
    )
    made = make_thumbnails(call)
    assert set(made.problems) == {0, 2, 3}
    assert made.problems[0].startswith("cannot be decoded")
    assert made.problems[2] in ("No such file or directory", "File not found")
    assert "folder" in made.problems[3]
    assert thumbnail_path(call.folder, b"\1" * 32).stat().st_size > 0


def test_a_thumbnail_that_is_there_is_left_alone(tmp_path: Path) -> None:
    target = create_thumbnail(saved_scene(tmp_path / "a.png"), tmp_path, HASH, 128)
    before = target.read_bytes()
    made = make_thumbnails(MakeThumbnails(((os.fsencode(tmp_path / "gone"), HASH),), str(tmp_path), 64))
    assert made.problems == {}
    assert len(made.perceptual_hashes[0]) == HASH_BYTES
    assert target.read_bytes() == before


def test_a_damaged_thumbnail_is_made_again(tmp_path: Path) -> None:
    target = thumbnail_path(tmp_path, HASH)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"RIFF, and nothing behind it")
    jobs = ((os.fsencode(saved_scene(tmp_path / "a.png")), HASH),)
    assert make_thumbnails(MakeThumbnails(jobs, str(tmp_path), 128)).problems == {}
    with Image.open(target) as opened:
        assert opened.size == (128, 128)


def test_hashes_come_with_the_thumbnails(tmp_path: Path) -> None:
    jobs = tuple(
        (os.fsencode(path), bytes([number]) * 32)
        for number, path in enumerate(
            (saved_scene(tmp_path / "a.png"), saved(tmp_path / "flat.png"), saved(tmp_path / "b.png"))
        )
    )
    (tmp_path / "b.png").write_bytes(b"no picture")
    made = make_thumbnails(MakeThumbnails(jobs, str(tmp_path / "small"), 128))
    assert set(made.problems) == {2}
    assert (len(made.perceptual_hashes[0]), made.perceptual_hashes[1]) == (HASH_BYTES, b"")
    assert set(made.perceptual_hashes) == {0, 1}


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    unfinished = thumbnail_path(tmp_path, HASH).with_suffix(".part")
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")
    made = create_thumbnail(saved(tmp_path / "a.png"), tmp_path, HASH, 64)
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(OSError):
        make_thumbnails(MakeThumbnails(((os.fsencode(saved(tmp_path / "a.png")), HASH),), str(blocked / "sub"), 64))


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_image(saved(tmp_path / "a.jpg", size=(60, 30), exif=exif)).size == (30, 60)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_eight_bit_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    picture = open_image(saved(tmp_path / f"a.{suffix}", mode))
    assert (picture.mode, picture.size) == ("RGB", (60, 30))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(1, 256)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    shades = np.asarray(open_image(tmp_path / "a.png"))[0, :, 0]
    assert abs(shades.astype(int) - np.arange(256)).max() <= 1


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    assert open_image(saved(tmp_path / "a.png", "RGBA", colour=(255, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (254, 0, 0) or open_image(tmp_path / "a.gif").getpixel(
        (0, 0)
    ) == (255, 0, 0)


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "PIXELS_MAX", 1000)
    with pytest.raises(NotAnImage, match="60x30 pixels are more"):
        open_image(saved(tmp_path / "a.png"))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(
        SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(NotAnImage, match="200000x200000 pixels are more"):
        open_image(tmp_path / "a.png")


def test_wrong_checksums_in_the_pixels_are_seen(tmp_path: Path) -> None:
    data = bytearray(png())
    data[-13] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(NotAnImage, match="checksum"):
        open_image(tmp_path / "a.png")


def test_large_texts_do_not_keep_a_picture_shut(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(text("workflow", b"x" * (3 << 20))))
    assert open_image(tmp_path / "a.png").size == (3, 2)


def test_exotic_decoders_stay_closed(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", format="PPM")
    with pytest.raises(NotAnImage, match="cannot be decoded"):
        open_image(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_links_are_not_opened(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(saved(tmp_path / "a.png"))
    for name in ("pipe.png", "link.png"):
        with pytest.raises(NotRegularFile):
            open_image(tmp_path / name)


def test_a_reason_names_no_python_object() -> None:
    for error in (
        UnidentifiedImageError("cannot identify image file <_io.BytesIO object at 0x7fbe8072e980>"),
        OSError("broken data in <_io.BytesIO object at 0x7f>"),
    ):
        assert "0x" not in decode._reason(error)
        assert "<" not in decode._reason(error)


def _damaged_tiff() -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "TIFF", compression="tiff_adobe_deflate")
    data = bytearray(stream.getvalue())
    data[200:260] = b"\xff" * 60
    return bytes(data)


@pytest.mark.skipif(sys.platform == "win32", reason="there the lines stay in the log")
def test_what_native_decoders_write_to_stderr_stands_in_the_reason_of_the_file(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "the daemon")
    with pytest.raises(NotAnImage, match=r"cannot be decoded: .* \(ZIPDecode: Decoding error"):
        decode.decode_bytes(_damaged_tiff())
    assert "ZIPDecode" not in "".join(capfd.readouterr())
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


@pytest.mark.skipif(sys.platform == "win32", reason="there the lines stay in the log")
def test_messages_about_a_file_that_is_decoded_are_bounded_and_logged_with_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "the daemon")
    real = decode._decode_first_frame

    def noisy(file: Any) -> decode.DecodedImage:
        for _ in range(2):
            os.write(2, b"[ERROR:0@1.25] global grfmt_tiff.cpp:462 \x1b[2Jbad\n" + b"x" * 1000 + b"\n")
        with pytest.raises(BlockingIOError):
            while True:
                os.write(2, b"more\n" * 1000)
        return real(file)

    monkeypatch.setattr(decode, "_decode_first_frame", noisy)
    with caplog.at_level(logging.INFO):
        open_image(saved(tmp_path / "named.png"))
    [record] = caplog.records
    assert "named.png is decoded, although a decoder says: grfmt_tiff.cpp:462 [2Jbad; xxx" in record.getMessage()
    assert len(record.getMessage()) < 1000
    assert capfd.readouterr().err == ""


def test_a_command_keeps_its_stderr_while_it_decodes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with native_messages() as messages:
        os.write(2, b"progress")
    assert (messages, capfd.readouterr().err) == ([], "progress")
