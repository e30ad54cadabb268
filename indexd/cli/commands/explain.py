"""`indexd explain`: explains why a file is or is not in the index."""

from __future__ import annotations

import click

from indexd.cli.support.printing import json_option, print_json, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK


@click.command(short_help="Explain why a file is or is not in the index.")
@click.argument("file", type=click.Path())
@json_option
def explain(file: str, as_json: bool) -> int:
    """Show whether a file is indexed, which index tasks are pending, or why indexd skipped it.

    Exit code 0 when the file is in the index, 3 when it is not.
    """
    from indexd.api.operations import images
    from indexd.search.query.image_target import format_target, target_of_path
    from indexd_schemas.api.requests import ImageSelector

    request = validated(ImageSelector, target=format_target(target_of_path(file)))
    with open_operations() as operations:
        explanation = operations.call(images.explain, request)
    if as_json:
        print_json(explanation)
    else:
        print_text(f"{explanation.path}: {explanation.state}")
        for sentence in explanation.sentences:
            print_text(f"  {sentence}")
    return EXIT_OK if explanation.image_id is not None else EXIT_NOTHING_FOUND
