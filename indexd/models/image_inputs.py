"""The images of a call, as a model takes them: from the pixels that the decode lane left, else decoded here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image

from indexd.errors import NotAnImage, NotRegularFile, raise_transient_if_present
from indexd.images.decode import open_image
from indexd.images.pixel_file import read_pixels

MAX_DECODED_PIXELS = 64_000_000
"""Pixels of decoded images in memory at once: 192 MB, and as much again inside a detector."""


def iterate_images(
    paths: Sequence[bytes], pixel_files: Sequence[str], max_images: int, problems: dict[int, str]
) -> Iterator[dict[int, Image.Image]]:
    """Groups of upright RGB images by their place in the call, at most `max_images` and MAX_DECODED_PIXELS a group.

    `pixel_files` has the file of decoded pixels of each image ("" = none), or is empty. The reasons of images that
    cannot be decoded go to `problems`. Raises OSError where the machine is at fault and the image is there.
    """
    group: dict[int, Image.Image] = {}
    pixels = 0
    for place, path in enumerate(paths):
        image = read_pixels(pixel_files[place]) if pixel_files and pixel_files[place] else None
        try:
            image = image or open_image(path)
        except (NotAnImage, NotRegularFile, OSError) as error:
            raise_transient_if_present(error, path)
            problems[place] = str(error)
            continue
        if group and (len(group) >= max_images or pixels + image.width * image.height > MAX_DECODED_PIXELS):
            yield group
            group, pixels = {}, 0
        group[place] = image
        pixels += image.width * image.height
    if group:
        yield group
