"""`indexd explain`: why a file is, or is not, in the index."""

from __future__ import annotations

import os

import click

from indexd.cli.support.printing import json_option, print_json, print_text
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK


@click.command(short_help="Say why a file is or is not in the index.")
@click.argument("file", type=click.Path())
@json_option
def explain(file: str, as_json: bool) -> int:
    """Say whether a file is indexed, what is still pending for it, or why it was skipped.

    Exit code 0 when the file is in the index, 3 when it is not.
    """
    with open_operations() as door:
        explanation = door.explain(os.fsencode(os.path.abspath(file)))
    if as_json:
        print_json(explanation)
    else:
        print_text(f"{explanation.path}: {explanation.state}")
        for sentence in explanation.sentences:
            print_text(f"  {sentence}")
    return EXIT_OK if explanation.image_id is not None else EXIT_NOTHING_FOUND
