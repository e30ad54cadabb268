"""`indexd jobs`: shows and controls the job ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.printing import (
    add_row,
    console,
    format_duration,
    format_time,
    json_option,
    one_line,
    print_block,
    print_json,
    print_notice,
    print_text,
)
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK
from indexd_schemas.job_state import JobState

if TYPE_CHECKING:
    from indexd_schemas.api.output import JobSummary, ShownJob
    from indexd_schemas.api.requests import JobSelector


SHOWN_VALUES = 8

MAX_ERROR_CHARACTERS = 1000


@click.group(short_help="List, show, expand, cancel or retry jobs.")
def jobs() -> None:
    """List, show, expand, cancel or retry jobs. A job is named by its number or its name."""


@jobs.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only jobs in this state (repeatable).",
)
@click.option("-n", "limit", type=WholeNumber(1, 100_000), default=50, show_default=True, help="Maximum number.")
@json_option
def list_(states: tuple[str, ...], limit: int, as_json: bool) -> int:
    """List the newest jobs."""
    from indexd.api.operations.jobs import list_jobs
    from indexd_schemas.api.requests import JobListRequest

    with open_operations() as operations:
        listed = operations.call(list_jobs, JobListRequest(states=tuple(map(JobState, states)), limit=limit))
    if as_json:
        print_json(listed)
        return EXIT_OK if listed.jobs else EXIT_NOTHING_FOUND
    if not listed.jobs:
        print_notice("there are no such jobs" if states else "there are no jobs yet")
        return EXIT_NOTHING_FOUND
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("job", "name", "kind", "state", "images", "since", "error"):
        table.add_column(heading)
    for job in listed.jobs:
        add_row(
            table,
            str(job.id),
            job.name,
            job.kind,
            job.state,
            item_counts_text(job),
            format_time(job.created_at),
            one_line(job.error),
        )
    console().print(table)
    return EXIT_OK


@jobs.command()
@click.argument("job")
@click.option("--source", is_flag=True, help="Print only the admitted job file.")
@json_option
def show(job: str, source: bool, as_json: bool) -> None:
    """Show a job with its images."""
    from indexd.api.operations.jobs import show_job

    with open_operations() as operations:
        shown = operations.call(show_job, _selector(job))
    if source:
        print_block(shown.source)
    else:
        _print(shown, as_json)


@jobs.command()
@click.argument("job")
@json_option
def cancel(job: str, as_json: bool) -> None:
    """Cancel a job within one denoising step. Published images stay."""
    from indexd.api.operations.jobs import cancel_job

    with open_operations(need_daemon=True) as operations:
        _print(operations.call(cancel_job, _selector(job)), as_json, with_items=False)


@jobs.command()
@click.argument("job")
@json_option
def retry(job: str, as_json: bool) -> None:
    """Queue the failed and cancelled images of a job again."""
    from indexd.api.operations.jobs import retry_job

    with open_operations(need_daemon=True) as operations:
        _print(operations.call(retry_job, _selector(job)), as_json, with_items=False)


@jobs.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--sample", type=click.IntRange(0, 1000), default=10, show_default=True, help="Show so many of the images."
)
@json_option
def expand(file: Path, sample: int, as_json: bool) -> None:
    """Show what a job file would make: number, prompts, choices and estimated time. Writes nothing.

    Random seeds and random combinations are drawn anew when the job is admitted.
    """
    from indexd.api.operations.jobs import preview
    from indexd.cli.commands.submit import read_job_file
    from indexd_schemas.api.requests import PreviewRequest

    name = file.name.encode("utf-8", "replace").decode()
    request = validated(PreviewRequest, name=name, source=read_job_file(file), sample=sample)
    with open_operations() as operations:
        previewed = operations.call(preview, request)
    if as_json:
        print_json(previewed)
        return
    took = "" if previewed.seconds is None else f", about {format_duration(previewed.seconds)}"
    print_text(f"{previewed.name}  {previewed.kind}  {previewed.images} images{took}")
    for choice, counts in previewed.choices.items():
        most = ", ".join(f"{one_line(value)} {count}" for value, count in list(counts.items())[:SHOWN_VALUES])
        rest = f" and {len(counts) - SHOWN_VALUES} more" if len(counts) > SHOWN_VALUES else ""
        print_text(f"  {choice}: {most}{rest}")
    for image in previewed.sample:
        print_text(f"  {image.index + 1:4}  seed {image.seed}  {image.path}")
        print_text(f"        {one_line(image.prompt)}")
        if image.negative_prompt:
            print_text(f"        not: {one_line(image.negative_prompt)}")


def _selector(job: str) -> JobSelector:
    from indexd_schemas.api.requests import JobSelector

    return validated(JobSelector, which=job)


def item_counts_text(job: JobSummary) -> str:
    """`3 done, 1 failed`."""
    return ", ".join(f"{job.items[state]} {state}" for state in JobState if job.items.get(state)) or "none"


def _print(shown: ShownJob, as_json: bool, *, with_items: bool = True) -> None:
    if as_json:
        print_json(shown)
        return
    job = shown.job
    print_text(f"job {job.id}  {job.name}  {job.kind}  {job.state}  ({item_counts_text(job)})")
    # The error of a job repeats that of its first failed item; with one item there is nothing to add.
    if job.error and (len(shown.items) != 1 or not with_items):
        print_text(f"  {one_line(job.error, MAX_ERROR_CHARACTERS)}")
    for picture in shown.items if with_items else ():
        seconds = f"  {picture.seconds:.1f} s" if picture.seconds is not None else ""
        tries = f"  attempt {picture.attempts}" if picture.attempts > 1 else ""
        print_text(f"  {picture.index + 1:4}  {picture.state:9}  seed {picture.seed}  {picture.path}{seconds}{tries}")
        for line in (*picture.notes, *([picture.error] if picture.error else ())):
            print_text(f"        {one_line(line, MAX_ERROR_CHARACTERS)}")
