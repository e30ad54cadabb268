"""The picture formats that are opened, recognised by their first bytes and never by the name of the file."""

from __future__ import annotations

from indexd.errors import NotAPicture
from indexd.images.containers import avif, bmp, gif, jpeg, png, tiff, webp
from indexd.images.containers.texts import Container
from indexd.images.source import Source

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
"""Everything else stays closed: exotic decoders are where the memory bombs were seen."""

HEAD_BYTES = 64


def format_of(head: bytes) -> str | None:
    """The format (one of FORMATS) of a file that begins with these bytes, or None."""
    if head.startswith(png.SIGNATURE):
        return "PNG"
    if head.startswith(jpeg.SIGNATURE):
        return "JPEG"
    if webp.matches(head):
        return "WEBP"
    if avif.matches(head):
        return "AVIF"
    if head.startswith(gif.SIGNATURES):
        return "GIF"
    if head.startswith(tiff.SIGNATURES):
        return "TIFF"
    return "BMP" if head.startswith(bmp.SIGNATURE) else None


_READERS = {
    "PNG": png.read,
    "JPEG": jpeg.read,
    "WEBP": webp.read,
    "AVIF": avif.read,
    "GIF": gif.read,
    "BMP": bmp.read,
    "TIFF": tiff.read,
}


def read_container(source: Source) -> Container:
    """Size and texts of a picture. Raises NotAPicture(reason) for everything that is none of FORMATS or is damaged."""
    if source.size == 0:
        raise NotAPicture("the file is empty")
    name = format_of(source.at(0, HEAD_BYTES))
    if name is None:
        raise NotAPicture("the content is none of PNG, JPEG, WebP, AVIF, GIF, BMP, TIFF")
    return _READERS[name](source)
