"""`indexd stats`: counts, and what five-star images have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexd.cli.support.dash_arguments import dash_argument_command
from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.printing import add_row, console, format_time, json_option, print_json, print_notice, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import call_with_progress
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK

if TYPE_CHECKING:
    from rich.table import Table

    from indexd_schemas.api.library_reports import CountTable, FiveStarRow, PromptTermRow, StatisticsReport

KEYS = (
    "model",
    "lora",
    "sampler",
    "schedule",
    "generator",
    "month",
    "year",
    "size",
    "steps",
    "cfg",
    "rating",
    "tag",
    "choice",
)
DEFAULT_KEYS = ("model", "lora", "sampler", "month", "generator")
_VERDICT_SYMBOLS = {"above": "▲", "below": "▼", "unclear": " "}


@click.command(
    cls=dash_argument_command(r"-[A-Za-z_]+:.*"),
    short_help="Count images by model and more; compare five-star images.",
    epilog="""\
\b
Examples:
  indexd stats
  indexd stats --by month --by model date:2026 --plot year.png
  indexd stats --against all tag:portrait
  indexd stats generator:comfyui --json | jq '.five_stars[] | select(.verdict == "above")'

Filters are those of `indexd query`. Formulas and their sources: docs/stats.md.
""",
)
@click.option(
    "--by",
    "by",
    multiple=True,
    type=click.Choice(KEYS),
    help=f"Count by this key (repeatable). Default: {', '.join(DEFAULT_KEYS)}.",
)
@click.option(
    "--against",
    type=click.Choice(["rated", "all"]),
    default="rated",
    show_default=True,
    help="Compare five-star images with the other rated ones, or with all others.",
)
@click.option("-n", "limit", type=WholeNumber(1, 10_000), default=15, show_default=True, help="Rows per table.")
@json_option
@click.option("--plot", type=click.Path(dir_okay=False), metavar="OUT.png", help="Also draw the tables as bars.")
@click.argument("filters", nargs=-1, metavar="[FILTER]...")
def stats(
    by: tuple[str, ...], against: str, limit: int, as_json: bool, plot: str | None, filters: tuple[str, ...]
) -> int:
    """Count images by model, LoRA, sampler, month and more, and show what five-star images have in common.

    Includes images whose files are missing; missing:no excludes them.
    """
    from indexd.api.operations import images
    from indexd_schemas.api.library_reports import StatsRequest

    request = validated(StatsRequest, by=by or DEFAULT_KEYS, rest=against, limit=limit, filters=filters)
    found = call_with_progress("counting", images.stats, request)
    for line in found.notes:
        print_notice(f"note: {line}")
    if plot and found.images:
        _plot(found, plot)
    if as_json:
        print_json(found)
    elif found.images:
        _print(found)
    else:
        print_notice("nothing found")
    return EXIT_OK if found.images else EXIT_NOTHING_FOUND


def _plot(found: StatisticsReport, plot: str) -> None:
    from pathlib import Path

    from indexd.statistics.statistics_plot import write_plot

    target = Path(plot).absolute()
    write_plot(found, target)
    print_notice(f"drawn to {target}")


def _print(found: StatisticsReport) -> None:
    rated = f", {found.rated} rated, {found.mean_rating:.2f} on average" if found.mean_rating is not None else ""
    print_text(f"{found.images} images{rated}, made {format_time(found.first_at)} to {format_time(found.last_at)}")
    screen = console()
    for table in found.tables:
        screen.print(_count_table(table, found))
    if found.five_stars:
        screen.print(_five_star_table(found.five_stars))
    for title, terms in (
        ("prompt terms that go with five stars", found.terms_for),
        ("prompt terms that go with fewer", found.terms_against),
    ):
        if terms:
            screen.print(_term_table(title, terms))


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _count_table(counted: CountTable, found: StatisticsReport) -> Table:
    table = _table(
        f"by {counted.key}: {counted.values} different on {counted.stated} of {found.images} images",
        *(counted.key, "images", "share", "rated", "mean", "shrunk"),
    )
    for row in counted.rows:
        means = [f"{mean:.2f}" if mean is not None else "-" for mean in (row.mean_rating, row.shrunk_rating)]
        add_row(table, row.value, str(row.images), f"{row.share:.1%}", str(row.rated), *means)
    return table


def _five_star_table(rows: list[FiveStarRow]) -> Table:
    table = _table("what five-star images have in common", "what", "five", "of", "share", "95 % interval", "others", "")
    for row in rows:
        shares = (f"{row.share:.0%}", f"{row.low:.0%} to {row.high:.0%}", f"{row.others_share:.0%}")
        add_row(
            table,
            f"{row.key} {row.value}",
            str(row.five),
            str(row.compared),
            *shares,
            _VERDICT_SYMBOLS[row.verdict],
        )
    return table


def _term_table(title: str, terms: list[PromptTermRow]) -> Table:
    table = _table(title, "term", "five stars", "others", "log-odds", "z")
    for row in terms:
        add_row(table, row.term, str(row.five), str(row.others), f"{row.log_odds:+.2f}", f"{row.z:+.1f}")
    return table
