"""`indexd tag`: adds and removes tags. Tags belong to the content of an image."""

from __future__ import annotations

import click

from indexd.cli.support.annotation_commands import annotate_matching, bulk_query_options, run_annotation, target_texts
from indexd.cli.support.dash_arguments import dash_argument_command
from indexd.cli.support.printing import json_option
from indexd.cli.support.request_validation import validated
from indexd.errors import UsageError


@click.command(
    cls=dash_argument_command(r"-(?![hy]\Z)[^-].*"),
    short_help="Add tags to images, or remove tags.",
)
@click.argument("words", nargs=-1, required=True, metavar="[FILE|ID]... +TAG|-TAG...")
@bulk_query_options
@json_option
def tag(words: tuple[str, ...], query: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> int:
    """Add tags to images and remove tags: `indexd tag a.png b.png +keep -draft`.

    `+tag` adds and `-tag` removes a tag; every other argument names an image (write ./+x.png for a file of such a name). Tags have
    levels: tag:style also finds `style/anime`, and `-style/*` removes all tags below `style`. Many images:
    `indexd tag --query 'rating:..2 model:pony' +bad`. Exit code 5 when some images were not found, 3 when all.
    """
    from indexd.api.operations import annotation
    from indexd_schemas.api.requests import TagRequest

    add = [word[1:].strip() for word in words if word.startswith("+")]
    remove = [word[1:].strip() for word in words if word.startswith("-")]
    images = [word for word in words if not word.startswith(("+", "-"))]
    if not images and not query:
        raise UsageError("name at least one image, or use --query")
    if images and query:
        raise UsageError("name images or use --query, not both")
    if not add and not remove:
        raise UsageError("name at least one tag: +tag puts it on, -tag takes it off")
    if "" in (*add, *remove):
        raise UsageError("a tag is +name or -name, without blanks between")
    if query:
        return annotate_matching(query, {"add": add, "remove": remove}, yes=yes, dry_run=dry_run, as_json=as_json)
    if dry_run:
        raise UsageError("--dry-run goes with --query")
    request = validated(TagRequest, targets=target_texts(images), add=add, remove=remove)
    return run_annotation(annotation.tag, request, as_json)
