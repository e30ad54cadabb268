"""`indexd duplicates`: three kinds of duplicates, listed separately."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexd.cli.support.dash_arguments import dash_argument_command
from indexd.cli.support.number_types import Number, WholeNumber
from indexd.cli.support.printing import format_bytes, format_time, json_option, print_json, print_notice, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import call_with_progress, load_config
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK, UsageError

if TYPE_CHECKING:
    from indexd_schemas.api.library_reports import DuplicateGroup, DuplicateKind, DuplicatesReport

_TITLES: dict[str, str] = {
    "same": "same bytes in several files",
    "near": "the same image in other bytes",
    "variations": "variations: they look alike, and are no copies",
    "similar": "similar, but not the same",
}

_MEMBER_NOUNS: dict[str, str] = {"same": "files", "near": "images", "variations": "images", "similar": "images"}


@click.command(
    cls=dash_argument_command(r"-[A-Za-z_]+:.*"),
    short_help="Find duplicate images, and suggest which to keep.",
    epilog="""\
\b
Kinds (default: --same --near):
  --same        equal bytes: one image in several files
  --near        the same image, re-encoded, scaled or slightly cropped
  --variations  images that look alike, with another recipe or other pixels
  --similar     similar images (clip_h)

\b
Examples:
  indexd duplicates
  indexd duplicates --near path:portraits/* -n 50 --sheet near.png
  indexd duplicates --similar --threshold 0.95 model:pony
  indexd duplicates --same --json | jq -r '.groups[].members[1:][].path'

Filters are those of `indexd query`. docs/duplicates.md explains limits, figures and
the suggestion.
""",
)
@click.option("--same", "same", is_flag=True, help="Equal bytes.")
@click.option("--near", "near", is_flag=True, help="The same image in other bytes.")
@click.option("--variations", "variations", is_flag=True, help="Images that look alike and are no copies.")
@click.option("--similar", "similar", is_flag=True, help="Similar images.")
@click.option(
    "--threshold",
    type=Number(0.5, 1.0),
    help="For --similar: minimum cosine with the group's centre. Default: 0.93.",
)
@click.option(
    "-n",
    "limit",
    type=WholeNumber(1, 1_000_000),
    default=20,
    show_default=True,
    help="Maximum number of groups of each kind.",
)
@json_option
@click.option(
    "--sheet", type=click.Path(dir_okay=False), metavar="OUT.png", help="Also write a contact sheet, one group a row."
)
@click.argument("filters", nargs=-1, metavar="[FILTER]...")
def duplicates(
    same: bool,
    near: bool,
    variations: bool,
    similar: bool,
    threshold: float | None,
    limit: int,
    as_json: bool,
    sheet: str | None,
    filters: tuple[str, ...],
) -> int:
    """Find duplicate images, and suggest which to keep and why.

    Deletes, moves and changes nothing. Exit code 3 when there is none.
    """
    from indexd.api.operations import images
    from indexd_schemas.api.library_reports import DuplicatesRequest

    if threshold is not None and not similar:
        raise UsageError("--threshold belongs to --similar")
    wanted: dict[DuplicateKind, bool] = {"same": same, "near": near, "variations": variations, "similar": similar}
    kinds = tuple(kind for kind, on in wanted.items() if on)
    given: dict[str, object] = {"kinds": kinds} if kinds else {}
    if threshold is not None:
        given["threshold"] = threshold
    request = validated(DuplicatesRequest, filters=filters, limit=limit, **given)
    found = call_with_progress("comparing", images.duplicates, request)
    for line in found.notes:
        print_notice(f"note: {line}")
    if sheet and found.groups:
        _write_contact_sheet(found, sheet)
    if as_json:
        print_json(found)
    else:
        _print(found)
    return EXIT_OK if found.groups else EXIT_NOTHING_FOUND


def _write_contact_sheet(found: DuplicatesReport, sheet: str) -> None:
    from pathlib import Path

    from indexd.duplicates.duplicate_contact_sheet import write_duplicate_contact_sheet
    from indexd.images.thumbnail import thumbnail_path

    folder = load_config().paths.thumbnails
    target = Path(sheet).absolute()
    count = write_duplicate_contact_sheet(
        found.groups, target, lambda content: thumbnail_path(folder, bytes.fromhex(content))
    )
    print_notice(f"{count} groups on {target}")


def _print(found: DuplicatesReport) -> None:
    for count in found.found:
        of_kind = [group for group in found.groups if group.kind == count.kind]
        print_text(f"{_TITLES[count.kind]}: {count.groups} groups, {count.members} {_MEMBER_NOUNS[count.kind]}")
        for number, group in enumerate(of_kind, 1):
            _print_group(number, group)
        if count.groups > len(of_kind):
            print_text(f"  … {count.groups - len(of_kind)} more groups; -n shows more")


def _print_group(number: int, group: DuplicateGroup) -> None:
    if group.kind == "variations":
        print_text(f"{number:3}  keep all: {group.reason}")
    else:
        spare = f", the others take {format_bytes(group.spare_bytes)}" if group.kind != "similar" else ""
        print_text(f"{number:3}  keep the first: {group.reason}{spare}")
    for place, member in enumerate(group.members):
        likeness = "" if group.kind == "same" else "     =" if place == 0 else f"  {member.similarity:.2f}"
        rating = "  " + "★" * member.rating if member.rating else ""
        facts = f"{member.width}x{member.height}  {member.format}  {format_bytes(member.byte_count)}"
        print_text(f"     {'keep' if member.keep else '    '}{likeness}  {member.path or f'#{member.image_id}'}")
        print_text(f"           {facts}  {format_time(member.modified_at)}{rating}")
