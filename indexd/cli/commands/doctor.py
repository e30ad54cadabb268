"""`indexd doctor`: looks for what is wrong, one line a check, with the cure."""

from __future__ import annotations

import click

from indexd.cli.support.printing import json_option, print_json, progress, sanitize_text
from indexd.cli.support.session import home_folder

EXIT_WARNINGS = 1
EXIT_FAILED = 2
STATE_LABELS = {"ok": "OK     ", "warning": "WARNING", "failed": "FAILED "}
STATE_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command(short_help="Look for what is wrong, and say the cure.")
@click.option("--fix", is_flag=True, help="Do the cures that can harm nothing, and say what was done.")
@json_option
def doctor(fix: bool, as_json: bool) -> int:
    """Look for what is wrong: one line a check, and the cure where it is not well. Changes nothing without --fix.

    --fix makes folders of ours that are missing, closes the socket and the token to others, and removes unfinished files of
    ours that a killed process left; nothing else. Exit code here: 0 all is well, 1 there are warnings, 2 something failed.
    """
    from indexd.doctor.groups import run_checks
    from indexd_schemas.api.output import DoctorCheck, DoctorReport

    found: list[DoctorCheck] = []
    with progress(counted=False) as bar:
        task = bar.add_task("looking", total=None)
        found.extend(run_checks(home_folder(), fix=fix, on_group=lambda name: bar.update(task, description=name)))
    if as_json:
        print_json(DoctorReport(checks=found))
    else:
        for check in found:
            sign = click.style(STATE_LABELS[check.state], fg=STATE_COLOURS[check.state])
            click.echo(f"{sign}  {sanitize_text(f'{check.name}: {check.detail}')}")
            if check.cure:
                click.echo(f"         → {sanitize_text(check.cure)}")
    states = {check.state for check in found}
    return EXIT_FAILED if "failed" in states else EXIT_WARNINGS if "warning" in states else 0
