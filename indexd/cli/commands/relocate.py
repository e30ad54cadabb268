"""`indexd relocate`: updates the paths of a moved folder tree."""

from __future__ import annotations

import os
import re
from urllib.parse import quote_from_bytes

import click

from indexd.cli.support.printing import json_option, print_json, print_notice, print_text
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_OK


@click.command(short_help="Update the index after a folder tree moved.")
@click.option("--from", "old", required=True, metavar="FOLDER", help="Old path of the tree; it need not exist.")
@click.option("--to", "new", required=True, metavar="FOLDER", help="New path; it need not exist yet.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@json_option
def relocate(old: str, new: str, dry_run: bool, as_json: bool) -> int:
    r"""Update the index after a folder tree moved to another disk, drive letter or system.

    Reads and changes no file: `indexd relocate --from /mnt/old/pics --to /data/pics`, or
    `--from "D:\pics" --to "E:\pics"`. Both may be offline. Files of the same size and time are not read again by the next
    scan. Moves inside and between watched folders that are online are noticed without this command.
    """
    from indexd.api.operations import library
    from indexd.cli.support.request_validation import validated
    from indexd_schemas.api.annotations import RelocateRequest

    request = validated(RelocateRequest, old=_quote_absolute_path(old), new=_quote_absolute_path(new), dry_run=dry_run)
    with open_operations(write=True) as operations:
        done = operations.call(library.relocate, request)
    if as_json:
        print_json(done)
    else:
        for root in done.roots:
            print_text(f"{root.old} -> {root.new}")
        gave_way = f", {done.dropped} known at the new place already" if done.dropped else ""
        print_text(f"{'would move' if dry_run else 'moved'} {done.files} file entries to {new}{gave_way}")
    for text in done.notes:
        print_notice(f"note: {text}")
    return EXIT_OK


def _quote_absolute_path(path: str) -> str:
    """The absolute path, percent-encoded; a path of another system is left as it was written."""
    foreign = os.name != "nt" and (re.match(r"[A-Za-z]:([\\/]|\Z)", path) or path.startswith("\\\\"))
    return quote_from_bytes(os.fsencode(path if foreign else os.path.abspath(os.path.expanduser(path))), safe="/")
