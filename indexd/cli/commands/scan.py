"""`indexd scan`: compares the watched folders with the index now."""

from __future__ import annotations

import time

import click

from indexd.cli.support.printing import format_duration, json_option, print_json, print_notice, print_text, progress
from indexd.cli.support.session import load_config, open_operations
from indexd.errors import EXIT_OK, EXIT_PARTLY_FAILED


@click.command(short_help="Compare the watched folders with the index now.")
@click.option("--once", is_flag=True, help="Without a daemon: scan and index in this process, then exit.")
@click.option("--skip-embeddings", "no_models", is_flag=True, help="With --once: leave embeddings pending.")
@click.option("--no-wait", is_flag=True, help="Request the scan and return at once.")
@json_option
def scan(once: bool, no_models: bool, no_wait: bool, as_json: bool) -> int:
    """Compare every watched folder with the index now.

    A running daemon does it. Without one, --once does it in this process: one full scan with metadata, thumbnails and embeddings, and
    no watching. Exit code 5 when a folder was offline.
    """
    from indexd.api import connect
    from indexd.api.operations import library
    from indexd.api.operations import status as status_operations
    from indexd_schemas.api.requests import ScanRequest
    from indexd_schemas.api.responses import ScanReport

    config = load_config()
    remote = connect.find_daemon(config)
    with progress(counted=False) as bar:
        bar.add_task("scanning", total=None)
        if remote is not None:
            scanned = remote.call(library.scan, ScanRequest(wait=not no_wait))
        elif once:
            from indexd.daemon import scan_once

            began = time.perf_counter()
            scan_once(config, models=not no_models)
            with open_operations() as operations:
                status = operations.call(status_operations.status)
            scanned = ScanReport(
                waited=True,
                seconds=round(time.perf_counter() - began, 3),
                images=status.images,
                files=status.files,
                missing_files=status.missing_files,
                roots=status.roots,
            )
        else:
            connect.connect(config, need_daemon=True)
            raise AssertionError("connect found the daemon that was not there a moment ago")
    if as_json:
        print_json(scanned)
    elif scanned.waited:
        print_text(
            f"{scanned.images} images in {scanned.files} files, {scanned.missing_files} missing; {format_duration(scanned.seconds)}"
        )
    else:
        print_text("the daemon scans")
    offline = [root for root in scanned.roots if not root.online]
    for root in offline:
        print_notice(f"offline: {root.path} ({root.reason}); nothing of it was marked as missing")
    return EXIT_PARTLY_FAILED if offline else EXIT_OK
