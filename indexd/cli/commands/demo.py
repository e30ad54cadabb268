"""`indexd demo`: the complete loop in a temporary home, without network, GPU or your own models."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from indexd.cli.support.session import home_folder


@click.command(short_help="Demonstrate indexd in a temporary home.")
def demo() -> None:
    """Run the real daemon in a temporary home, submit job files (one of them wrong), and search the images.

    Needs no network, no GPU and no models of yours. It uses the toy world: small trained models that ship with indexd and draw
    coloured shapes and ten cartoon faces. `--home DIR` (before the command) uses that folder instead. Nothing is deleted
    afterwards.
    """
    from indexd.demo import tour

    tour.run_tour((home_folder() or Path(tempfile.mkdtemp(prefix="indexd-demo-"))).absolute())
