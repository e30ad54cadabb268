"""`indexd submit`: submits a job file to the daemon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexd.cli.support.printing import json_option, print_json, print_notice, print_text, progress
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import load_config, open_operations
from indexd.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTLY_FAILED, DaemonNotRunning, IndexdError, JobRefused
from indexd_schemas.job_state import JobState

if TYPE_CHECKING:
    from indexd.api.operations.registry import Operations
    from indexd_schemas.api.output import ShownJob

POLL_SECONDS = 0.3
FINISHED_STATES = frozenset(state for state in JobState if state.is_final)
MAX_JOB_FILE_BYTES = 1 << 20


@click.command(short_help="Submit a job file to the daemon.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--wait", is_flag=True, help="Wait until the job ends, and show progress.")
@json_option
def submit(file: Path, wait: bool, as_json: bool) -> int:
    """Submit a job file (YAML) to the daemon. Equals dropping it into the inbox, but prints the result at once.

    With --wait the exit code is 0 when every image was rendered, 5 when some were, 1 when none was.
    """
    from indexd.api.operations import jobs
    from indexd_schemas.api.requests import SubmitRequest

    request = validated(SubmitRequest, name=file.name.encode("utf-8", "replace").decode(), source=read_job_file(file))
    try:
        with open_operations(need_daemon=True) as operations:
            shown = operations.call(jobs.submit, request)
            print_notice(f"job {shown.job.id} ({shown.job.name}) is accepted: {len(shown.items)} images")
            if wait:
                shown = wait_for_job(operations, str(shown.job.id))
    except DaemonNotRunning as error:
        raise DaemonNotRunning(
            f"{error}. Dropping {file.name} into {load_config().paths.inbox} works too: it is taken when the daemon starts"
        ) from None
    if as_json:
        print_json(shown)
    else:
        for picture in shown.items:
            if picture.state == "done":
                print_text(picture.path)
    return job_exit_code(shown) if wait else EXIT_OK


def wait_for_job(operations: Operations, which: str) -> ShownJob:
    """Poll the job until it has ended, with a progress bar; the last response."""
    from indexd.api.operations import jobs
    from indexd_schemas.api.requests import JobSelector

    selector = JobSelector(which=which)
    with progress() as bar:
        task = bar.add_task("waiting in the queue", total=None)
        while True:
            shown = operations.call(jobs.show_job, selector)
            counts = shown.job.items
            finished = sum(counts.get(state, 0) for state in FINISHED_STATES)
            bar.update(
                task, total=len(shown.items), completed=finished, description=f"job {shown.job.id} {shown.job.state}"
            )
            if shown.job.state in FINISHED_STATES:
                return shown
            time.sleep(POLL_SECONDS)


def job_exit_code(shown: ShownJob) -> int:
    """The exit code of a finished job. Prints failures to stderr."""
    if shown.job.error and len(shown.items) != 1:
        print_notice(f"job {shown.job.id}: {shown.job.error}")
    for picture in shown.items:
        if picture.error and picture.state != "done":
            print_notice(f"image {picture.index + 1}: {picture.error}")
    if shown.job.state == "done" and all(picture.state == "done" for picture in shown.items):
        return EXIT_OK
    print_notice(f"job {shown.job.id} ended as {shown.job.state}")
    return EXIT_PARTLY_FAILED if any(picture.state == "done" for picture in shown.items) else EXIT_ERROR


def read_job_file(file: Path) -> str:
    """The text of a job file. Raises IndexdError where it cannot be read, is too large or is not UTF-8."""
    try:
        with file.open("rb") as stream:
            source = stream.read(MAX_JOB_FILE_BYTES + 1)
    except OSError as error:
        raise IndexdError(f"cannot read {file}: {error.strerror or error}") from None
    if len(source) > MAX_JOB_FILE_BYTES:
        raise IndexdError(f"{file} is larger than {MAX_JOB_FILE_BYTES} bytes; a job file is a short text")
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        raise JobRefused(f"{file.name}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
