"""`indexd reparse`: what newer readers of metadata make of the texts that the index keeps of every picture."""

from __future__ import annotations

import click

from indexd.cli.support.printing import json_option, print_json, progress
from indexd.cli.support.session import open_operations

BATCH_IMAGES = 500


@click.command(short_help="Read stored metadata again with newer readers.")
@click.option("--all", "everything", is_flag=True, help="Every picture, not only those that an older reader read.")
@json_option
def reparse(everything: bool, as_json: bool) -> None:
    """Read the metadata that is stored of each picture again, with the readers of this program.

    No file is opened. Pictures that the present readers read already are passed over, unless --all is given. What
    became of prompt, model and the rest is searchable at once; a prompt that changed is embedded again.
    """
    from indexd_schemas.api.responses import ReparseReport

    read = changed = after = left = 0
    with open_operations(write=True) as door, progress() as bar:
        task = bar.add_task("reading", total=None)
        while (one := door.reparse(after, BATCH_IMAGES, everything)).last_id is not None:
            read, changed, after, left = read + one.read, changed + one.changed, one.last_id, one.left
            bar.update(task, completed=read, total=read + left)
    if as_json:
        print_json(ReparseReport(read=read, changed=changed, last_id=after or None, left=left))
    else:
        click.echo(f"{read} pictures read again, {changed} told of differently now")
