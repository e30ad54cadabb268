"""`indexd doctor`: looks for what is wrong, one line a check, with the cure."""

from __future__ import annotations

import click

from indexd.cli.printing import json_option, print_json, progress
from indexd.cli.session import home

EXIT_WARNINGS = 1
EXIT_FAILED = 2
SIGNS = {"ok": "OK     ", "warning": "WARNING", "failed": "FAILED "}
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command(short_help="Look for what is wrong, and say the cure.")
@json_option
def doctor(as_json: bool) -> int:
    """Look for what is wrong: one line a check, and the cure where it is not well. Changes nothing.

    Exit code here: 0 all is well, 1 there are warnings, 2 something failed.
    """
    from indexd.cli.checks import all_checks
    from indexd_schemas.output import Check, Diagnosis

    found: list[Check] = []
    with progress(counted=False) as bar:
        bar.add_task("looking", total=None)
        found.extend(all_checks(home()))
    if as_json:
        print_json(Diagnosis(checks=found))
    else:
        for check in found:
            click.echo(f"{click.style(SIGNS[check.state], fg=COLOURS[check.state])}  {check.name}: {check.detail}")
            if check.cure:
                click.echo(f"         → {check.cure}")
    states = {check.state for check in found}
    return EXIT_FAILED if "failed" in states else EXIT_WARNINGS if "warning" in states else 0
