"""Images that a job file names, read at admission."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import NotAnImage, NotRegularFile, is_transient_os_error
from indexd.fs.paths import is_inside, is_unc, is_url
from indexd.images.reader_client import read_image_file
from indexd.jobs.parsing.validation import FieldError, format_path
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.name_key import existing_spelling
from indexd_schemas.validation_messages import quote_value


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image that a job file names; size and hash are those at admission."""

    path: str
    name: str
    content_hash: str
    width: int
    height: int


def read_input_image(path: Path, key: FieldPath) -> InputImage:
    """Read the image at `path`. Raises FieldError at `key`."""
    where = format_path(key)
    try:
        facts = read_image_file(os.fsencode(path), with_sidecars=False)
    except FileNotFoundError:
        raise FieldError(key, f"{where}: there is no file {path}") from None
    except NotRegularFile:
        raise FieldError(key, f"{where}: {path} is not a regular file") from None
    except NotAnImage as error:
        raise FieldError(key, f"{where}: {path} cannot be used: {error}") from None
    except (OSError, ValueError) as error:
        if is_transient_os_error(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FieldError(key, f"{where}: {path} cannot be read: {reason}") from None
    # The rendered image carries the name, as UTF-8.
    name = path.name.encode("utf-8", "replace").decode()
    return InputImage(str(path), name, facts.content_hash.hex(), facts.width, facts.height)


def resolve_inbox_path(inbox: Path, text: str, key: FieldPath) -> Path:
    """The path that a job file states, absolute or relative to the inbox. Addresses and network paths are refused unread.

    Raises FieldError at `key`.
    """
    where = format_path(key)
    if is_url(text):
        raise FieldError(key, f"{where}: {quote_value(text)} is a URL, and indexd downloads nothing; name a file")
    if is_unc(text):
        raise FieldError(key, f"{where}: {quote_value(text)} is on another machine; copy the image here first")
    if "\0" in text or ".." in re.split(r"[/\\]", text):
        raise FieldError(key, f"{where}: {quote_value(text)} is no path that can be used")
    path = existing_spelling(inbox / os.path.expanduser(text))
    check_inside_inbox(inbox, path, text, key)
    return path


def check_inside_inbox(inbox: Path, path: Path, text: str, key: FieldPath) -> None:
    """Raise FieldError at `key` where a path in the inbox leads out of it by a link. `text` is the path as the job states it."""
    if path.is_relative_to(inbox) and not is_inside(inbox, path):
        raise FieldError(
            key,
            f"{format_path(key)}: {quote_value(text)} leads out of the inbox by a link; name the file by its whole path",
        )
