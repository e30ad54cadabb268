"""`indexd reparse`: parses the raw metadata in the index again."""

from __future__ import annotations

import click

from indexd.cli.support.printing import json_option, print_json, print_text, progress
from indexd.cli.support.session import open_operations

BATCH_IMAGES = 500


@click.command(short_help="Parse stored metadata again with newer readers.")
@click.option("--all", "everything", is_flag=True, help="All images, not only those parsed by an older reader.")
@json_option
def reparse(everything: bool, as_json: bool) -> None:
    """Parse the stored raw metadata of images again with the current readers.

    Opens no file. Skips images that the current readers have parsed, unless --all is given. The result is searchable at once; a
    changed prompt is embedded again.
    """
    from indexd.api.operations import library
    from indexd_schemas.api.requests import ReparseRequest
    from indexd_schemas.api.responses import ReparseReport

    read = changed = after = left = 0
    with open_operations(write=True) as operations, progress() as bar:
        task = bar.add_task("reading", total=None)
        while True:
            request = ReparseRequest(after=after, limit=BATCH_IMAGES, everything=everything)
            batch = operations.call(library.reparse, request)
            if batch.last_id is None:
                break
            read, changed, after, left = read + batch.read, changed + batch.changed, batch.last_id, batch.left
            bar.update(task, completed=read, total=read + left)
    if as_json:
        print_json(ReparseReport(read=read, changed=changed, last_id=after or None, left=left))
    else:
        print_text(f"{read} images parsed again, {changed} changed")
