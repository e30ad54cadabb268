"""`indexd backup`: a verified copy of everything that cannot be recomputed, with or without a running daemon."""

from __future__ import annotations

import time
from pathlib import Path

import click

from indexd.cli.support.printing import format_bytes, format_time, json_option, print_json, print_text, progress
from indexd.cli.support.session import load_config
from indexd.errors import NothingFound


@click.command(short_help="Write a verified backup of the index.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--list", "list_them", is_flag=True, help="List the backups in the backup folder.")
@json_option
def backup(file: Path | None, list_them: bool, as_json: bool) -> None:
    """Write a backup to FILE (in a folder: under a dated name), or to the backup folder.

    A backup is a complete index without vectors, which models recompute. indexd verifies it before it gets its name, and never
    overwrites an existing file. The daemon writes one every night (settings: [backup]).
    """
    from indexd.store.sqlite.recovery.backup import write_backup
    from indexd.store.sqlite.recovery.backup_retention import backup_path, list_backups
    from indexd_schemas.api.responses import BackupInfo, BackupList

    places = load_config().paths
    if list_them:
        if file is not None:
            raise click.UsageError("--list takes no FILE")
        kept = [
            BackupInfo(path=str(one.path), byte_count=one.path.stat().st_size, at=one.at.timestamp())
            for one in list_backups(places.backups)
        ]
        if as_json:
            print_json(BackupList(backups=kept))
        for one in () if as_json else kept:
            print_text(f"{format_time(one.at)}  {format_bytes(one.byte_count):>10}  {one.path}")
        if not kept:
            raise NothingFound(f"there are no backups in {places.backups}")
        return
    if not places.index.exists():
        raise NothingFound(f"there is no index yet at {places.index}")
    now = time.time()
    target = backup_path(places.backups, now) if file is None else backup_path(file, now) if file.is_dir() else file
    with progress(counted=False) as bar:
        task = bar.add_task("writing", total=None)

        def on_step(text: str) -> bool:
            if text:
                bar.update(task, description=text)
            return False

        made = write_backup(places.index, target, on_step=on_step)
    if as_json:
        print_json(BackupInfo(path=str(made.path), byte_count=made.byte_count, at=now, rows=made.rows))
    else:
        print_text(f"{made.path}  {format_bytes(made.byte_count)}")
