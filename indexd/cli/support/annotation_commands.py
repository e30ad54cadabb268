"""Shared code of rate/tag/note: target selection, confirmation, exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from indexd.cli.support.printing import print_json, print_notice, print_text, sanitize_line
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK, EXIT_PARTLY_FAILED, UsageError

if TYPE_CHECKING:
    from indexd.api.operations.registry import Operation, RequestT
    from indexd_schemas.api.output import AnnotateReport

CONFIRM_ABOVE = 20
"""Up to this number, images are annotated without confirmation."""


def run_annotation(operation: Operation[RequestT, AnnotateReport], request: RequestT, as_json: bool) -> int:
    """Annotate images, in the daemon or in this process under the instance lock; the exit code."""
    with open_operations(write=True) as operations:
        outcome = operations.call(operation, request)
    if as_json:
        print_json(outcome)
    else:
        print_text(f"{outcome.changed} changed")
    for name in outcome.not_found:
        print_notice(f"not in the index: {name}")
    if not outcome.not_found:
        return EXIT_OK
    return EXIT_PARTLY_FAILED if outcome.changed else EXIT_NOTHING_FOUND


def target_texts(arguments: Iterable[str]) -> tuple[str, ...]:
    """The images of the command line, as requests name them."""
    from indexd.search.query.image_target import format_target, parse_target_argument

    return tuple(format_target(parse_target_argument(argument)) for argument in arguments)


def bulk_query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--query`, `--yes` and `--dry-run` of the commands that annotate query results."""
    for option in (
        click.option("--dry-run", is_flag=True, help="With --query: only show the number of images."),
        click.option("-y", "--yes", is_flag=True, help=f"Do not ask for confirmation above {CONFIRM_ABOVE} images."),
        click.option(
            "--query",
            "query",
            multiple=True,
            metavar="FILTERS",
            help="Instead of images: all that match these filters (see `indexd query --help`).",
        ),
    ):
        command = option(command)
    return command


def annotate_matching(
    query: tuple[str, ...], change: dict[str, object], *, yes: bool, dry_run: bool, as_json: bool
) -> int:
    """Annotate all images that match the filters, after confirmation when there are many. Returns the exit code."""
    from indexd.api.operations import annotation
    from indexd.search.query.filter_language import parse_filters
    from indexd_schemas.api.annotations import AnnotateMatchingRequest

    parse_filters(query)
    request = validated(AnnotateMatchingRequest, filters=query, **change)
    with open_operations(write=not dry_run) as operations:
        count = operations.call(annotation.annotate_matching, request.model_copy(update={"dry_run": True}))
        if dry_run:
            if as_json:
                print_json(count)
            else:
                print_text(f"{count.changed} images match; nothing was changed")
            return EXIT_OK if count.changed else EXIT_NOTHING_FOUND
        if not count.changed:
            print_notice("nothing found")
            return EXIT_NOTHING_FOUND
        confirm(f"Change {count.changed} images?", yes=yes or count.changed <= CONFIRM_ABOVE)
        confirmed = request.model_copy(update={"at_most": count.changed})
        outcome = operations.call(annotation.annotate_matching, confirmed)
    if as_json:
        print_json(outcome)
    else:
        print_text(f"{outcome.changed} changed")
    return EXIT_OK


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation on a terminal; without one --yes is required. Raises UsageError or Abort."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Repeat the command with --yes, or preview it with --dry-run")
    click.confirm(sanitize_line(question), abort=True, err=True)
