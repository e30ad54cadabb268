"""A picture that a job names, as it is at admission: read once, its hash taken."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import NotAPicture, NotRegular, is_machines_fault
from indexd.images.read import read
from indexd.jobs.diagnose import FieldProblem, dotted, shown
from indexd.watch.elsewhere import address, inside, share
from indexd.watch.regular import open_regular

Place = tuple[str | int, ...]
"""Where a job names something: `("control", 0, "image")`."""


@dataclass(frozen=True, slots=True)
class InputPicture:
    """A picture that a job names, as it was at admission."""

    path: str
    name: str
    content_hash: str
    width: int
    height: int


def input_picture(path: Path, key: Place) -> InputPicture:
    """The picture at `path`. Raises FieldProblem at `key`."""
    where = dotted(key)
    try:
        with open_regular(os.fsencode(path)) as file:
            facts = read(file, os.fstat(file.fileno()).st_size, path.name)
    except FileNotFoundError:
        raise FieldProblem(key, f"{where}: there is no file {path}") from None
    except NotRegular:
        raise FieldProblem(key, f"{where}: {path} is not a regular file") from None
    except NotAPicture as error:
        raise FieldProblem(key, f"{where}: {path} cannot be used: {error}") from None
    except (OSError, ValueError) as error:
        if is_machines_fault(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FieldProblem(key, f"{where}: {path} cannot be read: {reason}") from None
    # The name stands in the picture that is made, and text there is UTF-8.
    name = path.name.encode("utf-8", "replace").decode()
    return InputPicture(str(path), name, facts.content_hash.hex(), facts.width, facts.height)


def inbox_path(inbox: Path, text: str, key: Place) -> Path:
    """A path as a job file writes it: relative to the inbox, or absolute. Nothing is looked at that lies elsewhere.

    Raises FieldProblem at `key`.
    """
    where = dotted(key)
    if address(text):
        raise FieldProblem(key, f"{where}: {shown(text)} is an address; nothing is fetched, name a file")
    if share(text):
        raise FieldProblem(key, f"{where}: {shown(text)} is on another machine; copy the picture here first")
    if "\0" in text or ".." in re.split(r"[/\\]", text):
        raise FieldProblem(key, f"{where}: {shown(text)} is no path that can be used")
    path = inbox / os.path.expanduser(text)
    hold_inside(inbox, path, text, key)
    return path


def hold_inside(inbox: Path, path: Path, text: str, key: Place) -> None:
    """Raise FieldProblem at `key` where what lies in the inbox (`text`, as it is named) is a link that leads out of it."""
    if path.is_relative_to(inbox) and not inside(inbox, path):
        raise FieldProblem(
            key, f"{dotted(key)}: {shown(text)} leads out of the inbox by a link; name the file by its whole path"
        )
