"""The token that a visitor of the TCP door must show, and the files in which it lies for this user alone."""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import IndexdError, NotRegularFile
from indexd.fs.safe_open import open_regular

MIN_TOKEN_CHARACTERS = 32
_MAX_FILE_BYTES = 4096
GROUP_AND_OTHERS_MASK = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """What a client on this machine needs for the TCP door: where it is, and the token."""

    address: str
    port: int
    token: str


def new_token() -> str:
    """A token that nobody can guess: 256 bits."""
    return secrets.token_urlsafe(32)


def read_user_token(file: Path) -> str:
    """The token that the user wrote into a file. Raises IndexdError when others could have read it, or it is too short."""
    try:
        with open_regular(file) as stream:
            found = os.fstat(stream.fileno())
            text = stream.read(_MAX_FILE_BYTES)
    except (OSError, NotRegularFile) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise IndexdError(f"the token file {file} cannot be read: {reason}; correct `[api] token_file`") from None
    if os.name == "posix":
        if found.st_uid != os.geteuid():
            raise IndexdError(f"the token file {file} belongs to another user; write one of your own")
        if found.st_mode & GROUP_AND_OTHERS_MASK:
            # The mode alone is no cure: what was readable may have been read.
            raise IndexdError(
                f"other users could read the token file {file} (mode {stat.S_IMODE(found.st_mode):04o});"
                " put a new token into it after `chmod 600`"
            )
    token = text.decode("ascii", "replace").strip()
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise IndexdError(
            f"the token in {file} must be one line of at least {MIN_TOKEN_CHARACTERS} printable ASCII characters;"
            ' `python3 -c "import secrets; print(secrets.token_urlsafe(32))"` makes one'
        )
    return token


def write_endpoint(file: Path, endpoint: TcpEndpoint) -> None:
    """Write it for this user alone, in one step."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump({"address": endpoint.address, "port": endpoint.port, "token": endpoint.token}, stream)
    os.replace(partial, file)


def read_endpoint(file: Path) -> TcpEndpoint | None:
    """What a daemon wrote, or None. A file of another user is nobody's: he would be sent what is meant for the daemon."""
    try:
        with open_regular(file) as stream:
            if os.name == "posix" and os.fstat(stream.fileno()).st_uid != os.geteuid():
                return None
            content = json.loads(stream.read(_MAX_FILE_BYTES))
        return TcpEndpoint(str(content["address"]), int(content["port"]), str(content["token"]))
    except (OSError, NotRegularFile, ValueError, KeyError, TypeError):
        return None
