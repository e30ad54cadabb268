"""`indexd sample`: samples images of a character or a query."""

from __future__ import annotations

import click

from indexd.cli.support.dash_arguments import dash_argument_command
from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.printing import json_option, print_json, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK


@click.command(
    cls=dash_argument_command(r"-[A-Za-z_]+:.*"),
    short_help="Sample images: diverse, typical, best or random.",
    epilog="""\
\b
Strategies:
  diverse  as different as possible: the most typical image, then always the farthest
  typical  nearest to the centre
  best     highest face quality; for a query the best rated, then the largest
  random   the same --seed gives the same images

\b
Examples:
  indexd sample --character Luna -n 20
  indexd sample model:pony rating:4.. --strategy typical
  indexd sample --character Luna --strategy random --seed 7 --json | jq -r '.images[].path'

Filters are those of `indexd query`.
""",
)
@click.option("--character", metavar="CHARACTER", help="Images of this character (name or number), one face each.")
@click.option(
    "--strategy",
    type=click.Choice(["diverse", "typical", "best", "random"]),
    default="diverse",
    show_default=True,
    help="Sampling strategy.",
)
@click.option("-n", "count", type=WholeNumber(1, 100_000), default=20, show_default=True, help="Number of images.")
@click.option("--seed", type=WholeNumber(0), default=0, show_default=True, help="Seed of the random strategy.")
@json_option
@click.argument("filters", nargs=-1, metavar="[FILTER]...")
def sample(character: str | None, strategy: str, count: int, seed: int, as_json: bool, filters: tuple[str, ...]) -> int:
    """Sample images of a character or a query, and print their paths. Exit code 3 when there is none."""
    from indexd.api.operations import images
    from indexd_schemas.api.characters import SampleRequest

    request = validated(SampleRequest, character=character, filters=filters, strategy=strategy, count=count, seed=seed)
    with open_operations() as operations:
        found = operations.call(images.sample, request)
    if as_json:
        print_json(found)
    else:
        # Programs read the paths, so print them unchanged.
        for image in found.images:
            print_text(image.path or f"#{image.image_id}")
    return EXIT_OK if found.images else EXIT_NOTHING_FOUND
