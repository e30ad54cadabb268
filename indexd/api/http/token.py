"""The bearer token of the TCP listener, and the files that hold it, readable by their owner alone."""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from indexd.errors import IndexdError, NotRegularFile
from indexd.fs.private_files import belongs_to_another_user, may_be_opened_by_others
from indexd.fs.safe_open import open_regular

MIN_TOKEN_CHARACTERS = 32
_MAX_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """What a client on this machine needs: address, port and token."""

    address: str
    port: int
    token: str


def new_token() -> str:
    """A random token of 256 bits."""
    return secrets.token_urlsafe(32)


def read_user_token(file: Path) -> str:
    """The token in a file of the user. Raises IndexdError when others could read it, or it is too short."""
    try:
        with open_regular(file) as stream:
            found = os.fstat(stream.fileno())
            text = stream.read(_MAX_FILE_BYTES)
    except (OSError, NotRegularFile) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise IndexdError(f"the token file {file} cannot be read: {reason}; correct `[api] token_file`") from None
    if belongs_to_another_user(found):
        raise IndexdError(f"the token file {file} belongs to another user; write one of your own")
    if may_be_opened_by_others(found):
        # Changing the mode is not enough: another user may have read the token already.
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
    """Write the endpoint file with mode 0600, atomically."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump({"address": endpoint.address, "port": endpoint.port, "token": endpoint.token}, stream)
    os.replace(partial, file)


def read_endpoint(file: Path) -> TcpEndpoint | None:
    """The endpoint that a daemon wrote, or None. A file of another user is ignored: requests would go to that user."""
    try:
        with open_regular(file) as stream:
            if belongs_to_another_user(os.fstat(stream.fileno())):
                return None
            content = json.loads(stream.read(_MAX_FILE_BYTES))
        return TcpEndpoint(str(content["address"]), int(content["port"]), str(content["token"]))
    except (OSError, NotRegularFile, ValueError, KeyError, TypeError):
        return None
