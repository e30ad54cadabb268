"""The commands of `indexd characters` that correct something. Each correction can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from indexd.cli.support.number_types import Number, WholeNumber
from indexd.cli.support.printing import format_time, json_option, print_json, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK

if TYPE_CHECKING:
    from indexd_schemas.api.characters import FaceReference

character_argument = click.argument("character", metavar="CHARACTER")
faces_argument = click.argument("faces", nargs=-1, required=True, metavar="FACE...")


@click.command()
@click.argument("name", metavar="NAME")
@faces_argument
@json_option
def new(name: str, faces: tuple[str, ...], as_json: bool) -> int:
    """Create a character from these faces. Similar new faces join it."""
    return apply_correction(as_json, kind="new", name=name, faces=_parse_faces(faces))


@click.command()
@character_argument
@click.argument("name", metavar="NAME")
@json_option
def name(character: str, name: str, as_json: bool) -> int:
    """Name a character; "" removes the name. Names are unique and compared without case."""
    return apply_correction(as_json, kind="name", character=character, name=name)


@click.command()
@character_argument
@click.argument("others", nargs=-1, required=True, metavar="OTHER...")
@json_option
def merge(character: str, others: tuple[str, ...], as_json: bool) -> int:
    """Merge characters: CHARACTER gets all faces of the OTHERs and keeps its name."""
    return apply_correction(as_json, kind="merge", character=character, others=others)


@click.command()
@character_argument
@click.argument("faces", nargs=-1, metavar="[FACE]...")
@click.option(
    "--min-similarity",
    "at",
    type=Number(0, 1),
    help="Keep faces of at least this cosine together, split the rest.",
)
@json_option
def split(character: str, faces: tuple[str, ...], at: float | None, as_json: bool) -> int:
    """Move faces into a new character: the FACEs, or all below --min-similarity."""
    return apply_correction(as_json, kind="split", character=character, faces=_parse_faces(faces), at=at)


@click.command()
@character_argument
@faces_argument
@json_option
def confirm(character: str, faces: tuple[str, ...], as_json: bool) -> int:
    """Confirm that these faces show this character. No clustering moves them."""
    return apply_correction(as_json, kind="confirm", character=character, faces=_parse_faces(faces))


@click.command()
@character_argument
@faces_argument
@json_option
def reject(character: str, faces: tuple[str, ...], as_json: bool) -> int:
    """Reject faces of this character. They never return to it."""
    return apply_correction(as_json, kind="reject", character=character, faces=_parse_faces(faces))


@click.command()
@character_argument
@click.option("--unhide", "off", is_flag=True, help="Show the character again.")
@json_option
def hide(character: str, off: bool, as_json: bool) -> int:
    """Exclude a character from lists and suggestions (background people). It keeps its faces."""
    return apply_correction(as_json, kind="show" if off else "hide", character=character)


@click.command()
@character_argument
@click.argument("threshold", type=Number(0, 1), required=False)
@json_option
def threshold(character: str, threshold: float | None, as_json: bool) -> int:
    """Set the minimum cosine for assigning new faces to this character; without a number, that of the settings."""
    return apply_correction(as_json, kind="threshold", character=character, at=threshold)


@click.command()
@click.argument("number", type=WholeNumber(1), required=False)
@click.option("--list", "listed", is_flag=True, help="List the corrections instead.")
@click.option(
    "-n", "limit", type=WholeNumber(1, 100_000), default=20, show_default=True, help="Number of corrections to list."
)
@json_option
def undo(number: int | None, listed: bool, limit: int, as_json: bool) -> int:
    """Undo a correction: the latest, or this NUMBER if no later one depends on it."""
    if not listed:
        return apply_correction(as_json, kind="undo", number=number)
    from indexd.api.operations.characters import list_corrections
    from indexd_schemas.api.characters import CorrectionLogRequest

    with open_operations() as operations:
        log = operations.call(list_corrections, CorrectionLogRequest(limit=limit))
    if as_json:
        print_json(log)
    for entry in () if as_json else log.corrections:
        undone = "  (undone)" if entry.undone_at is not None and entry.kind != "undo" else ""
        print_text(f"{entry.number:>6}  {format_time(entry.at)}  {entry.text}{undone}")
    return EXIT_OK if log.corrections else EXIT_NOTHING_FOUND


EDIT_COMMANDS = (new, name, merge, split, confirm, reject, hide, threshold, undo)


def apply_correction(as_json: bool, **given: Any) -> int:
    """Apply a correction and print the result."""
    from indexd.api.operations.characters import correct
    from indexd_schemas.api.characters import CorrectionRequest

    with open_operations(write=True) as operations:
        result = operations.call(correct, validated(CorrectionRequest, **given))
    if as_json:
        print_json(result)
    else:
        undo_hint = "" if given["kind"] == "undo" else f"  (indexd characters undo {result.number})"
        print_text(f"{result.text}{undo_hint}")
    return EXIT_OK


def _parse_faces(texts: Sequence[str]) -> tuple[FaceReference, ...]:
    return tuple(_parse_face(text) for text in texts)


def _parse_face(text: str) -> FaceReference:
    """A number is a face; a path is an image, with `:2` for its second largest face."""
    import os

    from indexd.search.query.image_target import format_target, target_of_path
    from indexd_schemas.api.characters import FaceReference

    if text.isascii() and text.isdigit() and not os.path.lexists(text) and len(text) < 19 and int(text):
        return FaceReference(region=int(text))
    path, colon, number = text.rpartition(":")
    if colon and number.isascii() and number.isdigit() and 0 < int(number) < 10_000 and not os.path.lexists(text):
        return FaceReference(target=format_target(target_of_path(path)), number=int(number))
    return FaceReference(target=format_target(target_of_path(text)))
