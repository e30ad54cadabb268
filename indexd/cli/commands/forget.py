"""`indexd forget`: the only command that removes missing images from the index."""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes

import click

from indexd.cli.support.annotation_commands import confirm
from indexd.cli.support.printing import json_option, print_json, print_notice, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK, UsageError


@click.command(short_help="Remove missing files from the index.")
@click.option("--under", metavar="FOLDER", help="Only files that were in this folder or below.")
@click.option(
    "--older-than",
    default="0",
    show_default=True,
    metavar="TIME",
    help="Only files that are missing for this long: 30d.",
)
@click.option(
    "--offline", is_flag=True, help="With --under: also if that folder is offline permanently or no longer watched."
)
@click.option("--with-annotations", is_flag=True, help="Also forget the ratings, tags and notes of these images.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def forget(
    under: str | None, older_than: str, offline: bool, with_annotations: bool, dry_run: bool, yes: bool, as_json: bool
) -> int:
    """Remove missing files, and images without any file, from the index.

    No other command does, and no file is touched. Existing files, and files in offline folders, stay in the index. Ratings, tags and
    notes stay pending for the content and return with it (unless --with-annotations).
    """
    from indexd.api.operations import library
    from indexd_schemas.api.annotations import ForgetRequest
    from indexd_schemas.durations import parse_duration

    try:
        seconds = parse_duration(older_than)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from None
    if seconds is None:
        raise UsageError("--older-than never would forget nothing")
    folder = quote_from_bytes(os.fsencode(_absolute_path(under)), safe="/") if under is not None else None
    request = validated(
        ForgetRequest,
        under=folder,
        older_than_seconds=seconds,
        offline=offline,
        with_annotations=with_annotations,
        dry_run=True,
    )
    with open_operations(write=not dry_run) as operations:
        found = operations.call(library.forget, request)
        if not dry_run and (found.files or found.images):
            if not as_json:
                for example in found.examples:
                    print_notice(f"  {example}")
            confirm(_confirmation_text(found.files, found.images, with_annotations) + "?", yes=yes)
            found = operations.call(library.forget, request.model_copy(update={"dry_run": False}))
    if as_json:
        print_json(found)
    elif not found.files and not found.images:
        print_notice("nothing is missing")
    else:
        if dry_run:
            for example in found.examples:
                print_text(example)
        print_text(f"{found.files} files and {found.images} images {'would be ' if dry_run else ''}forgotten")
    if found.annotations_kept:
        print_notice(f"the annotations of {found.annotations_kept} images are kept, and return with their content")
    if found.still_there:
        print_notice(f"{found.still_there} files are there again and stay; the next scan finds them")
    return EXIT_OK if found.files or found.images else EXIT_NOTHING_FOUND


def _confirmation_text(files: int, images: int, with_annotations: bool) -> str:
    annotations = " and their annotations" if with_annotations else ""
    return f"Forget {files} missing files and {images} images without any file{annotations}"


def _absolute_path(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))
