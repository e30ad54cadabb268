"""Hashes of files that a recipe names."""

from __future__ import annotations

from indexd.errors import RenderFailed


def check_hash(what: str, name: str, stated: str | None, found: str) -> None:
    """Raises RenderFailed where a recipe states another hash of a file than is found now."""
    if stated is not None and stated != found:
        raise RenderFailed(
            f"{what} {name} is not the file that the recipe was made with: its hash is {found}, not {stated}; "
            "put the right file there, or leave the hash out"
        )
