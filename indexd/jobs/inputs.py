"""A picture that a job names, as it is at admission: read once, its hash taken."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import NotAPicture, NotRegular
from indexd.images.read import read
from indexd.jobs.diagnose import FieldProblem, shown
from indexd.watch.regular import open_regular


@dataclass(frozen=True, slots=True)
class InputPicture:
    """The source of img2img as it was at admission."""

    path: str
    name: str
    content_hash: str
    width: int
    height: int


def input_picture(path: Path, key: tuple[str, ...]) -> InputPicture:
    """The picture at `path`. Raises FieldProblem at `key`."""
    where = ".".join(key)
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
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FieldProblem(key, f"{where}: {path} cannot be read: {reason}") from None
    # The name stands in the picture that is made, and text there is UTF-8.
    name = path.name.encode("utf-8", "replace").decode()
    return InputPicture(str(path), name, facts.content_hash.hex(), facts.width, facts.height)


def inbox_path(inbox: Path, text: str, key: tuple[str, ...]) -> Path:
    """A path as a job file writes it: relative to the inbox, or absolute. Raises FieldProblem at `key`."""
    if "\0" in text or ".." in re.split(r"[/\\]", text):
        raise FieldProblem(key, f"{'.'.join(key)}: {shown(text)} is no path that can be used")
    return inbox / os.path.expanduser(text)
