"""`indexd control`: makes a control map for a ControlNet."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import click

from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.printing import json_option, print_json, print_text
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_OK, IndexdError, UsageError


@click.command(short_help="Make a control map of an image.")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="IMAGE")
@click.argument("kind", metavar="TYPE")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Write the map to this file.",
)
@click.option("--size", metavar="WxH", help="Scale the image to cover this size first. Default: its own size.")
@click.option("--low", type=WholeNumber(0, 1000), default=100, show_default=True, help="Lower threshold of canny.")
@click.option("--high", type=WholeNumber(0, 1000), default=200, show_default=True, help="Upper threshold of canny.")
@json_option
def control(image: Path, kind: str, out: Path | None, size: str | None, low: int, high: int, as_json: bool) -> int:
    """Make a control map of an image: TYPE is canny, depth, pose, lineart, softedge or scribble.

    The cache keeps the map for jobs. Without -o the command prints its path there. -o replaces an existing file.
    """
    from indexd.api.operations.models import control_map
    from indexd.search.query.image_target import ImageTarget, format_target
    from indexd_schemas.api.requests import ControlMapRequest

    width, height = _parse_size(size)
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"maps are PNG; name a file that ends in .png (got {out})")
    if out is not None and out.resolve() == image.resolve():
        raise UsageError("the map cannot replace the image; name another file")
    request = ControlMapRequest(
        image=format_target(ImageTarget(path=os.fsencode(image.absolute()))),
        type=kind[:100] or "?",
        width=width,
        height=height,
        low=low,
        high=high,
    )
    with open_operations() as operations:
        made = operations.call(control_map, request)
    if out is not None:
        try:
            shutil.copyfile(made.path, out)
        except OSError as error:
            raise IndexdError(f"the map cannot be written to {out}: {error.strerror}") from None
        made = made.model_copy(update={"path": str(out.absolute())})
    if as_json:
        print_json(made)
    elif out is None:
        print_text(made.path)
    else:
        how = made.method or "the image itself"
        print_text(f"{out}: {made.width}x{made.height}, {how}{', found in the cache' if made.cached else ''}")
    return EXIT_OK


def _parse_size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = re.fullmatch(r"(\d{1,5})[x×*](\d{1,5})", text.strip(), re.IGNORECASE)
    if match is None or not all(8 <= int(side) <= 16_384 for side in match.groups()):
        raise UsageError(f"--size is width x height, 8 to 16384 each, such as 832x1216 (got {text!r})")
    return int(match[1]), int(match[2])
