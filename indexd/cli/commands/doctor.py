"""`indexd doctor`: diagnoses problems and suggests fixes."""

from __future__ import annotations

import click

from indexd.cli.support.printing import json_option, print_check, print_json, progress
from indexd.cli.support.session import home_folder

EXIT_WARNINGS = 1
EXIT_FAILED = 2


@click.command(short_help="Diagnose problems and suggest fixes.")
@click.option("--fix", is_flag=True, help="Apply the harmless fixes, and report them.")
@json_option
def doctor(fix: bool, as_json: bool) -> int:
    """Diagnose problems: prints one line for each check, with a fix where needed. Changes nothing without --fix.

    --fix creates missing folders of indexd, restricts the permissions of socket and token, and removes temporary files that a killed
    process left. Exit codes: 0 all well, 1 warnings, 2 a check failed.
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
            print_check(check.state, check.name, check.detail, check.advice)
    states = {check.state for check in found}
    return EXIT_FAILED if "failed" in states else EXIT_WARNINGS if "warning" in states else 0
