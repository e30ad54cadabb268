"""`indexd rate`: a rating hangs on the content of a picture and follows it wherever it moves."""

from __future__ import annotations

import click

from indexd.cli.marking import marked
from indexd.cli.printing import json_option
from indexd.errors import UsageError


@click.command(short_help="Rate pictures from 1 to 5 (0 takes it away).")
@click.argument("pictures", nargs=-1, required=True, metavar="FILE|ID...")
@click.argument("rating", type=click.IntRange(0, 5))
@json_option
def rate(pictures: tuple[str, ...], rating: int, as_json: bool) -> int:
    """Rate pictures from 1 to 5; 0 takes the rating away.

    The last argument is the rating: `indexd rate a.png b.png 4`. Exit code 5 when some were not found, 3 when all.
    """
    from indexd.search.targets import parse_argument

    if not pictures:
        raise UsageError("name at least one picture before the rating")
    return marked(lambda door: door.rate([parse_argument(picture) for picture in pictures], rating), as_json)
