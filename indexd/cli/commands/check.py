"""`indexd check`: checks the index for damage."""

from __future__ import annotations

import click

from indexd.cli.support.printing import json_option, print_check, print_json, progress
from indexd.cli.support.session import load_config
from indexd.errors import EXIT_ERROR, EXIT_OK, NothingFound


@click.command(short_help="Check the index for damage.")
@click.option("--full", is_flag=True, help="Read every page and vector, and compare more files by their content.")
@json_option
def check(full: bool, as_json: bool) -> int:
    """Check the index for damage, with or without a running daemon. Changes nothing.

    Reads all annotations and the job ledger, and samples the rest; --full reads everything. Exit code 1 when something is damaged;
    the output says what to do.
    """
    from indexd.store.sqlite.recovery.index_check import CheckFinding, check_index
    from indexd_schemas.api.output import DoctorCheck, DoctorReport

    index = load_config().paths.index
    if not index.exists():
        raise NothingFound(f"there is no index yet at {index}")
    found: list[CheckFinding] = []
    with progress(counted=False) as bar:
        task = bar.add_task("looking", total=None)
        found.extend(check_index(index, full=full, on_step=lambda text: bar.update(task, description=text)))
    if as_json:
        checks = [DoctorCheck(name=one.name, state=one.state, detail=one.detail, advice=one.advice) for one in found]
        print_json(DoctorReport(checks=checks))
    else:
        for one in found:
            print_check(one.state, one.name, one.detail, one.advice)
    return EXIT_ERROR if any(one.state == "failed" for one in found) else EXIT_OK
