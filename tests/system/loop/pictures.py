"""Small pictures with A1111-style text, made quickly and all different."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image, PngImagePlugin


def picture(number: int, prompt: str = "a picture", size: int = 32) -> bytes:
    """The bytes of a PNG whose colour and metadata depend on `number`."""
    image = Image.new("RGB", (size, size), (number % 256, number // 256 % 256, 120))
    text = PngImagePlugin.PngInfo()
    text.add_text(
        "parameters",
        f"{prompt} {number}\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {number}, Size: {size}x{size}",
    )
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=text)
    return out.getvalue()


def renumbered(template: bytes, number: int) -> bytes:
    """`template` (a PNG) with one more text chunk before IEND: another content, made without an encoder."""
    body = b"tEXtnumber\0" + str(number).encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return template[:-12] + chunk + template[-12:]


def write(folder: Path, name: str, content: bytes) -> Path:
    """Write a file as a generator does: in place, at once."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path
