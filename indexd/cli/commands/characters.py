"""`indexd characters`: lists, suggestions and clustering. characters_edit.py has the commands that change something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexd.cli.commands.characters_edit import EDIT_COMMANDS, apply_correction, character_argument
from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.printing import json_option, print_json, print_notice, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import load_config, open_operations
from indexd.errors import EXIT_ERROR, EXIT_NOTHING_FOUND, EXIT_OK

if TYPE_CHECKING:
    from indexd_schemas.api.characters import Character, ClusteringState, ShownCharacter

POLL_SECONDS = 0.25
STRATEGIES = ("typical", "diverse", "best", "random")


@click.group(
    short_help="List, name, merge and split characters.",
    epilog="""\
\b
A CHARACTER is its name or its number; a FACE is
  812            the number printed by `characters show` and `show IMAGE`
  party.png      the only face in this image
  party.png:2    its second largest

\b
Examples:
  indexd characters list
  indexd characters name 17 Luna
  indexd characters new Mara party.png:1
  indexd characters show Luna --sheet luna.png
  indexd characters merge Luna 23 31
  indexd characters reject Luna 812 party.png:2
  indexd characters split Luna --min-similarity 0.8
  indexd characters undo
""",
)
def characters() -> None:
    """Show and correct the characters: groups of faces of one person.

    indexd clusters all faces every night (`cluster`), and assigns new faces at once. No clustering undoes a name, a merge, a split,
    a confirmed or a rejected face. Only `undo` does.
    """


for command in EDIT_COMMANDS:
    characters.add_command(command)


@characters.command("list")
@click.option("--hidden", is_flag=True, help="Include hidden characters.")
@json_option
def list_(hidden: bool, as_json: bool) -> int:
    """List the characters, the largest first. Exit code 3 when there is none."""
    from indexd.api.operations.characters import list_characters
    from indexd_schemas.api.characters import CharacterListRequest

    with open_operations() as operations:
        found = operations.call(list_characters, CharacterListRequest(hidden=hidden))
    if as_json:
        print_json(found)
    else:
        for one in found.characters:
            print_text(_character_line(one))
        print_text(f"{len(found.characters)} characters; {found.unassigned} of {found.faces} faces have no character")
    return EXIT_OK if found.characters else EXIT_NOTHING_FOUND


@characters.command()
@character_argument
@click.option("-n", "limit", type=WholeNumber(0, 100_000), default=24, show_default=True, help="Number of faces.")
@click.option(
    "--strategy", type=click.Choice(STRATEGIES), default="typical", show_default=True, help="Which faces to show."
)
@click.option(
    "--sheet", type=click.Path(dir_okay=False), metavar="OUT.png", help="Also write a contact sheet of the faces."
)
@json_option
def show(character: str, limit: int, strategy: str, sheet: str | None, as_json: bool) -> int:
    """Show one character with some of its faces."""
    from indexd.api.operations.characters import show_character
    from indexd_schemas.api.characters import CharacterRequest

    request = validated(CharacterRequest, character=character, limit=limit, strategy=strategy)
    with open_operations() as operations:
        found = operations.call(show_character, request)
    if sheet:
        _write_contact_sheet(found, sheet)
    if as_json:
        print_json(found)
        return EXIT_OK
    print_text(_character_line(found.character))
    for face in found.faces:
        near = f"{face.similarity:.2f}" if face.similarity is not None else "   -"
        print_text(f"  {face.region:>8}  {near}  {face.source:9}  {face.path or f'#{face.image_id}'}")
    return EXIT_OK


@characters.command()
@click.option("--keep-separate", "apart", nargs=2, metavar="ONE OTHER", help="Never suggest merging these two again.")
@json_option
def suggest(apart: tuple[str, str] | None, as_json: bool) -> int:
    """Suggest characters to split or merge. Changes nothing. Exit code 3 when there is none."""
    if apart is not None:
        return apply_correction(as_json, kind="apart", character=apart[0], others=apart[1:])
    from indexd.api.operations import characters as operations_module

    with open_operations() as operations:
        found = operations.call(operations_module.suggest)
    if as_json:
        print_json(found)
    else:
        for pair in found.merges:
            one, other = _character_label(pair.one), _character_label(pair.other)
            print_text(f"{one} and {other} may be one character ({pair.similarity:.2f})")
            print_text(f"    indexd characters merge {pair.one.id} {pair.other.id}")
            print_text(f"    indexd characters suggest --keep-separate {pair.one.id} {pair.other.id}")
        for part in found.splits:
            print_text(
                f"{_character_label(part.character)} may be two characters: {len(part.faces)} faces form a separate cluster"
            )
            print_text(f"    indexd characters split {part.character.id} {' '.join(map(str, part.faces))}")
        if not found.merges and not found.splits:
            print_text("no character looks like two, and no two look like one")
    return EXIT_OK if found.merges or found.splits else EXIT_NOTHING_FOUND


@characters.command()
@click.option("--no-wait", is_flag=True, help="Return at once; the daemon continues.")
@click.option("--cancel", is_flag=True, help="Cancel the running clustering.")
@json_option
def cluster(no_wait: bool, cancel: bool, as_json: bool) -> int:
    """Cluster all faces again. Keeps numbers, names and corrections. Ctrl-C cancels.

    Exit code 3 when there is nothing to cancel.
    """
    import time

    from indexd.api.operations import characters as operations_module
    from indexd.cli.support.printing import progress
    from indexd_schemas.api.characters import ClusterRequest

    status_request = ClusterRequest(action="status")
    with open_operations(write=True, need_daemon=no_wait or cancel) as operations:
        if cancel and operations.call(operations_module.cluster, status_request).state != "running":
            print_text("no clustering runs")
            return EXIT_NOTHING_FOUND
        state = operations.call(operations_module.cluster, ClusterRequest(action="cancel" if cancel else "start"))
        if not no_wait:
            with progress() as bar:
                task = bar.add_task("clustering", total=None)
                try:
                    while state.state == "running":
                        bar.update(task, description=state.stage, completed=state.done, total=state.total or None)
                        time.sleep(POLL_SECONDS)
                        state = operations.call(operations_module.cluster, status_request)
                except KeyboardInterrupt:
                    operations.call(operations_module.cluster, ClusterRequest(action="cancel"))
                    raise
    if as_json:
        print_json(state)
    else:
        _print_clustering(state)
    return EXIT_ERROR if state.state == "failed" else EXIT_OK


def _print_clustering(state: ClusteringState) -> None:
    match state.state:
        case "done":
            changed = f"{state.joined + state.assigned} faces came to a character, {state.moved} left theirs"
            print_text(f"{state.faces} faces in {state.seconds:.1f} s: {state.made} new characters; {changed}")
        case "failed":
            print_text(f"the faces were not clustered: {state.problem}")
        case "running":
            print_text(f"clustering: {state.stage}; the daemon goes on")
        case _:
            print_text("the clustering was given up; nothing has changed")


def _character_label(one: Character) -> str:
    return f"{one.name} ({one.id})" if one.name else f"character {one.id}"


def _character_line(one: Character) -> str:
    marks = [f"{one.confirmed} confirmed"] if one.confirmed else []
    marks += ["hidden"] if one.hidden else []
    marks += [f"threshold {one.threshold:g}"] if one.threshold is not None else []
    rest = f"  {', '.join(marks)}" if marks else ""
    return f"{one.id:>6}  {one.name or '-':20}  {one.faces:>6} faces in {one.images} images{rest}"


def _write_contact_sheet(found: ShownCharacter, sheet: str) -> None:
    from pathlib import Path

    from indexd.characters.face_contact_sheet import write_face_contact_sheet
    from indexd.images.thumbnail import thumbnail_path

    folder = load_config().paths.thumbnails
    target = Path(sheet).absolute()
    count = write_face_contact_sheet(
        found.faces, target, lambda content: thumbnail_path(folder, bytes.fromhex(content))
    )
    print_notice(f"{count} faces on {target}")
