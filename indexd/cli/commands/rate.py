"""`indexd rate`: rates images. A rating belongs to the content of an image."""

from __future__ import annotations

import click

from indexd.cli.support.annotation_commands import annotate_matching, bulk_query_options, run_annotation, target_texts
from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.printing import json_option
from indexd.cli.support.request_validation import validated
from indexd.errors import UsageError


@click.command(short_help="Rate images from 1 to 5 (0 removes a rating).")
@click.argument("images", nargs=-1, metavar="[FILE|ID...]")
@click.argument("rating", type=WholeNumber(0, 5))
@bulk_query_options
@json_option
def rate(images: tuple[str, ...], rating: int, query: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> int:
    """Rate images from 1 to 5; 0 removes the rating.

    The last argument is the rating: `indexd rate a.png b.png 4`, or `indexd rate --query 'tag:keep model:pony' 4`.
    Exit code 5 when some images were not found, 3 when all.
    """
    from indexd.api.operations import annotation
    from indexd_schemas.api.requests import RateRequest

    if query:
        if images:
            raise UsageError("name images or use --query, not both")
        return annotate_matching(query, {"rating": rating}, yes=yes, dry_run=dry_run, as_json=as_json)
    if not images:
        raise UsageError("name at least one image before the rating, or use --query")
    if dry_run:
        raise UsageError("--dry-run goes with --query")
    return run_annotation(annotation.rate, validated(RateRequest, targets=target_texts(images), rating=rating), as_json)
