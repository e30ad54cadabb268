"""`indexd demo`: the whole loop in a throw-away home, without network, card or models of one's own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from indexd.cli.support.session import home_folder


@click.command(short_help="Show the whole loop in a throw-away home.")
def demo() -> None:
    """Run the real daemon in a throw-away home, drop job files (one of them wrong), and ask about the pictures.

    Needs no network, no graphics card and no models of yours: it uses the toy world, small trained models that come
    with indexd and know coloured shapes and ten cartoon faces. With `--home DIR` (before the command) that folder is
    used instead of a temporary one. Nothing is removed afterwards.
    """
    from indexd.demo import tour

    tour.run_tour((home_folder() or Path(tempfile.mkdtemp(prefix="indexd-demo-"))).absolute())
