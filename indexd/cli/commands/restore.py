"""`indexd restore`: replaces the index by a backup and keeps the present index."""

from __future__ import annotations

import time
from pathlib import Path

import click

from indexd.cli.support.printing import json_option, print_json, print_notice, print_text, progress
from indexd.cli.support.session import load_config


@click.command(short_help="Replace the index by a backup.")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def restore(file: Path, as_json: bool) -> None:
    """Replace the index by the backup FILE. Stop the daemon first.

    indexd verifies FILE completely and does not change it. It renames the present index and never deletes it. `indexd backup
    --list` shows the backups.
    """
    from indexd.instance_lock import instance_lock
    from indexd.store.sqlite.recovery.restore import restore_backup as bring_back
    from indexd_schemas.api.responses import RestoreReport

    config = load_config()
    index = config.paths.index
    with progress(counted=False) as bar:
        task = bar.add_task("restoring", total=None)

        def on_step(text: str) -> bool:
            if text:
                bar.update(task, description=text)
            return False

        with instance_lock(config):
            aside = bring_back(index, file, time.time(), on_step=on_step)
    if as_json:
        print_json(RestoreReport(index=str(index), backup=str(file), set_aside=str(aside) if aside else None))
    else:
        print_text(f"{index} is now what {file} holds")
    if aside is not None:
        print_notice(f"the index that was here is {aside}")
    print_notice("start the daemon: its first scan finds what has changed since, and models make the vectors again")
