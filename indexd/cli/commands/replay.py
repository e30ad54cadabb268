"""`indexd replay`: renders an image again from its recipe and compares the pixels."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexd.cli.commands.submit import job_exit_code, wait_for_job
from indexd.cli.support.printing import json_option, print_json, print_notice, print_text
from indexd.cli.support.session import load_config, open_operations
from indexd.errors import EXIT_ERROR, EXIT_OK, IndexdError, UsageError

if TYPE_CHECKING:
    from indexd_schemas.api.responses import ReplayReport
    from indexd_schemas.recipe import Recipe


@click.command(short_help="Render an image again from its recipe and compare.")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep the new image in this file.",
)
@json_option
def replay(image: Path, out: Path | None, as_json: bool) -> int:
    """Render an image again from the recipe inside it, and report whether all pixels are equal.

    Images of other programs are rendered from their metadata, with the noise of their program. The daemon renders it. Exit code 0 when every pixel is equal, 1 when not. Without --out the new image is deleted.
    """
    from indexd.api.operations.jobs import submit
    from indexd.jobs.export.replay import compare_images, read_origin, replay_job_text
    from indexd_schemas.api.requests import SubmitRequest
    from indexd_schemas.image_format import PNG, SUFFIXES

    made, recipe = read_origin(image)
    encoding = PNG if recipe is None else recipe.encoding
    if str(image.absolute()).encode("utf-8", "replace") != os.fsencode(image.absolute()):
        raise UsageError(f"the path of the image must be Unicode (got {str(image.absolute())!r}); rename it first")
    folder, name = _output_location(out, SUFFIXES[encoding.format])
    try:
        with open_operations(need_daemon=True) as operations:
            request = SubmitRequest(name=f"replay-{name}.yaml", source=replay_job_text(image, folder, name, encoding))
            submitted = operations.call(submit, request)
            shown = wait_for_job(operations, str(submitted.job.id))
        if job_exit_code(shown) != EXIT_OK:
            raise IndexdError(f"the image could not be rendered again; see `indexd jobs show {shown.job.id}`")
        replayed = compare_images(image, Path(shown.items[0].path))
        if recipe is None:
            print_notice(
                f"note: {made.generator or 'another program'} made {image}; `indexd query --emit-job` shows its job, and "
                "what of it indexd cannot do"
            )
        else:
            print_differences(recipe, Path(replayed.replayed))
    finally:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(replayed)
    else:
        print_text(outcome_text(replayed))
    return EXIT_OK if replayed.equal else EXIT_ERROR


def outcome_text(replayed: ReplayReport) -> str:
    """The result as a sentence."""
    if replayed.equal:
        return f"equal: every pixel of {replayed.replayed}" + (", and every byte" if replayed.same_bytes else "")
    if replayed.largest_difference is None:
        return "different: the sizes are not the same"
    return f"different: {replayed.differing_pixels} pixels, by up to {replayed.largest_difference} of 255"


def print_differences(recipe: Recipe, replayed: Path) -> None:
    """Print differences in the conditions of the render, which explain different pixels."""
    from indexd.jobs.export.replay import read_origin

    _, again = read_origin(replayed)
    assert again is not None  # indexd made it
    old, new = recipe.model, again.model
    if old and new and old.hash and new.hash and old.hash != new.hash:
        print_notice(f"note: the checkpoint {old.name} is another file now ({new.hash}, was {old.hash})")
    if recipe.dtype != again.dtype:
        print_notice(f"note: made in {recipe.dtype}, made again in {again.dtype}")


def _output_location(out: Path | None, suffix: str) -> tuple[Path, str]:
    """Folder and stem of the new image, whose name must end in `suffix`."""
    if out is None:
        # Not the system's temporary folder: a daemon under systemd has a private one (PrivateTmp).
        cache = load_config().paths.cache
        cache.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="replay-", dir=cache)), "replay"
    target = out.absolute()
    if target.suffix != suffix:
        raise UsageError(f"the image is made again in its own format; name a file that ends in {suffix} (got {out})")
    if target.name.encode("utf-8", "replace") != os.fsencode(target.name):
        raise UsageError(f"the name of the new image must be Unicode (got {target.name!r})")
    if target.exists():
        raise IndexdError(f"{out} is there already and is left as it is; name another file")
    if not target.parent.is_dir():
        raise IndexdError(f"there is no folder {target.parent}; make it first")
    if set("{}") & set(target.stem):
        raise UsageError(f"the name of the new image cannot contain {{ or }} (got {out})")
    return target.parent, target.stem
