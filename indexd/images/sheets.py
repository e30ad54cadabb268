"""What contact sheets and plots need: a file as a small picture, and a drawn page written in one step."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from indexd.errors import IndexdError
from indexd.images.containers.kinds import FORMATS


def small_picture(thumbnail: Path, path: str | None, size_px: int) -> Image.Image | None:
    """The picture within `size_px` square: from its thumbnail, else from its file; None when neither can be opened."""
    for source in (thumbnail, Path(path) if path else None):
        if source is None or not source.is_file():
            continue
        try:
            with Image.open(source, formats=FORMATS) as opened:
                opened.draft("RGB", (size_px, size_px))
                small = opened.convert("RGB")
        except Exception:
            # Pillow raises eight classes over broken files; the cell stays empty.
            continue
        small.thumbnail((size_px, size_px))
        return small
    return None


def save_page(page: Image.Image, target: Path, what: str) -> None:
    """Write a page as PNG, whole or not at all. Raises IndexdError naming `what` when it cannot be written."""
    # The first part of the name is hidden and ends as temporary files do, so that a watched folder ignores it.
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        page.save(partial, "PNG")
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise IndexdError(f"cannot write the {what} {target}: {error.strerror or error}") from None
