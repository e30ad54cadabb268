"""The first frame of a video, decoded by PyAV where it is installed (the optional extra `video`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from indexd.errors import NotAnImage

if TYPE_CHECKING:
    from PIL import Image

FRAME_PIXELS_MAX = 1 << 26
"""8192 x 8192: more than any video codec in use allows."""
PACKETS_MAX = 300
"""Packets that are read until the first frame is complete."""


def read_first_frame(file: BinaryIO) -> Image.Image:
    """The first frame of an MP4 or WebM as RGB. Raises NotAnImage where PyAV is missing or nothing can be decoded."""
    try:
        import av
    except ImportError:
        raise NotAnImage(
            "is a video, and PyAV is not installed: pip install 'indexd[video]' shows its first frame"
        ) from None
    file.seek(0)
    try:
        with av.open(file, mode="r") as container:
            return _decode(container)
    except (NotAnImage, MemoryError):
        raise
    except Exception as error:  # FFmpeg's errors are of many classes
        raise NotAnImage(f"cannot be decoded: {str(error).splitlines()[0][:300] if str(error) else error!r}") from error


def _decode(container: Any) -> Image.Image:
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise NotAnImage("cannot be decoded: the video has no frames")
    size = stream.codec_context.width, stream.codec_context.height
    if size[0] * size[1] > FRAME_PIXELS_MAX:
        raise NotAnImage(f"{size[0]}x{size[1]} pixels are more than are decoded of a video ({FRAME_PIXELS_MAX})")
    for number, packet in enumerate(container.demux(stream)):
        for frame in packet.decode():
            image: Image.Image = frame.to_image()
            return image
        if number >= PACKETS_MAX:
            break
    raise NotAnImage("cannot be decoded: the video has no frame at its beginning")
