"""`indexd note`: writes, shows or removes the note of an image."""

from __future__ import annotations

import click

from indexd.cli.support.annotation_commands import annotate_matching, bulk_query_options, run_annotation, target_texts
from indexd.cli.support.printing import json_option, print_block, print_json
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK, UsageError


@click.command(short_help="Write, show or remove the note of an image.")
@click.argument("words", nargs=-1, metavar="[FILE|ID...] [TEXT]")
@click.option("--append", is_flag=True, help="Append TEXT as a line to the existing note.")
@click.option("--clear", is_flag=True, help="Remove the note.")
@bulk_query_options
@json_option
def note(
    words: tuple[str, ...],
    append: bool,
    clear: bool,
    query: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write a note: `indexd note a.png b.png "for the cover"`. With a single image and no text, shows its note.

    `--append` adds a line and `--clear` removes the note. `--query FILTERS` instead of images applies to all matches. The filter
    `note:cover` finds it. Exit code 5 when some images were not found, 3 when all.
    """
    from indexd.api.operations import annotation
    from indexd_schemas.api.annotations import NoteRequest

    if append and clear:
        raise UsageError("--append and --clear exclude each other")
    if query:
        if len(words) != (0 if clear else 1):
            raise UsageError("with --query say the text alone, or --clear without one")
        change: dict[str, object] = {"note": "" if clear else words[0], "append": append}
        if not clear and not words[0].strip():
            raise UsageError("the note is empty; --clear takes it away")
        return annotate_matching(query, change, yes=yes, dry_run=dry_run, as_json=as_json)
    if dry_run:
        raise UsageError("--dry-run goes with --query")
    if clear and words:
        return run_annotation(annotation.note, validated(NoteRequest, targets=target_texts(words)), as_json)
    if len(words) == 1 and not append:
        return _show_note(words[0], as_json)
    if len(words) < 2:
        raise UsageError("name at least one image, and then the text")
    *images, text = words
    if not text.strip():
        raise UsageError("the note is empty; --clear takes it away")
    request = validated(NoteRequest, targets=target_texts(images), text=text, append=append)
    return run_annotation(annotation.note, request, as_json)


def _show_note(image: str, as_json: bool) -> int:
    from indexd.api.operations.images import show
    from indexd_schemas.api.requests import ImageSelector

    with open_operations() as operations:
        shown = operations.call(show, validated(ImageSelector, target=target_texts([image])[0]))
    if as_json:
        print_json(shown)
    elif shown.image.note:
        print_block(shown.image.note)
    return EXIT_OK if shown.image.note else EXIT_NOTHING_FOUND
