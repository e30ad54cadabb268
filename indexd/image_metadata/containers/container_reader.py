"""The supported image formats. The first bytes decide the format, never the file name."""

from __future__ import annotations

from indexd.image_metadata.byte_source import ByteSource
from indexd.image_metadata.containers import avif, bmp, gif, jpeg, mp4, png, tiff, webm, webp
from indexd.image_metadata.containers.text_collector import Container
from indexd.image_metadata.errors import UnreadableImage

SUPPORTED_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
"""Everything else stays closed: exotic decoders are where the memory bombs were seen."""

VIDEO_FORMATS = ("MP4", "WEBM")
"""Files that are read only where `[watch] videos` lets them through; PyAV decodes their first frame."""

HEAD_BYTES = 64
UNKNOWN_FORMAT = "the content is none of PNG, JPEG, WebP, AVIF, GIF, BMP, TIFF"


def detect_format(head: bytes) -> str | None:
    """The format (one of FORMATS) of a file that begins with these bytes, or None."""
    if head.startswith(png.SIGNATURE):
        return "PNG"
    if head.startswith(jpeg.SIGNATURE):
        return "JPEG"
    if webp.is_webp(head):
        return "WEBP"
    if avif.is_avif(head):
        return "AVIF"
    if head.startswith(gif.SIGNATURES):
        return "GIF"
    if head.startswith(tiff.SIGNATURES):
        return "TIFF"
    if mp4.is_mp4(head):
        return "MP4"
    if head.startswith(webm.SIGNATURE):
        return "WEBM"
    return "BMP" if head.startswith(bmp.SIGNATURE) else None


SIDE_END_PX = 1 << 32
"""No format states a larger side in its own fields; WebM and TIFF can write any number of 64 bits."""

_READERS = {
    "PNG": png.read_png,
    "JPEG": jpeg.read_jpeg,
    "WEBP": webp.read_webp,
    "AVIF": avif.read_avif,
    "GIF": gif.read_gif,
    "BMP": bmp.read_bmp,
    "TIFF": tiff.read_tiff,
    "MP4": mp4.read_mp4,
    "WEBM": webm.read_webm,
}


def read_container(source: ByteSource) -> Container:
    """Size and texts of an image. Raises UnreadableImage(reason) for a damaged file and for any format not in FORMATS."""
    if source.size == 0:
        raise UnreadableImage("the file is empty")
    name = detect_format(source.read_at(0, HEAD_BYTES))
    if name is None:
        raise UnreadableImage(UNKNOWN_FORMAT)
    container = _READERS[name](source)
    if not (0 < container.width < SIDE_END_PX and 0 < container.height < SIDE_END_PX):
        raise UnreadableImage(
            f"its header states {container.width}x{container.height} pixels, a size that no image has"
        )
    return container
