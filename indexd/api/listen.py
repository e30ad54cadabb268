"""The door itself: a Unix socket that only this user can open, or loopback with a token only this user can read."""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from indexd.config import Config, Places
from indexd.errors import IndexdError

BACKLOG = 64
UNIX_HOSTS = frozenset({"indexd", "localhost"})


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, the Host names it answers to, and the token it asks for (None on a Unix socket)."""

    socket: socket.socket
    hosts: frozenset[str]
    token: str | None
    path: Path
    identity: tuple[int, int]

    def close(self) -> None:
        """Stop listening and take the socket or token file away, if it is still ours."""
        self.socket.close()
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self.identity:
                os.unlink(self.path)
        except OSError:
            # Gone or unreachable (its folder was removed): nothing is left to tidy.
            return


def uses_unix_socket(config: Config) -> bool:
    """Whether the door is a Unix socket. `auto` is one wherever Python has them (not on Windows)."""
    listen = config.settings.api.listen
    if listen == "unix" and not hasattr(socket, "AF_UNIX"):
        raise IndexdError('this system has no Unix sockets; set `[api] listen = "auto"`')
    return listen == "unix" or (listen == "auto" and hasattr(socket, "AF_UNIX"))


def open_door(config: Config) -> Door:
    """Start listening. The caller holds the instance lock, so a socket left behind belongs to a daemon that is dead."""
    return _unix(config.places) if uses_unix_socket(config) else _loopback(config)


def _unix(places: Places) -> Door:
    path = places.socket
    _private_folder(path.parent)
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise IndexdError(f"{path} is in the way of the socket and is no socket; move it elsewhere")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody can connect between bind and listen, so the mode is right before the first visitor, whatever the
        # umask is; the umask itself belongs to the whole process and is left alone.
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise IndexdError(f"cannot open the socket {path}: {error.strerror or error}") from None
    return Door(listener, UNIX_HOSTS, None, path, _identity(path))


def _private_folder(folder: Path) -> None:
    """The folder exists and nobody else can put things into it; the shared temporary folder is the reason for asking."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise IndexdError(f"cannot make the folder of the socket {folder}: {error.strerror or error}") from None
    if not stat.S_ISDIR(found.st_mode):
        # A link is fine where the user made it; a link in the shared temporary folder is somebody's trap.
        found = os.stat(folder)
        if os.lstat(folder).st_uid != os.geteuid():
            raise IndexdError(f"{folder} is a link of another user; set another --home")
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    if found.st_uid != os.geteuid() or writable:
        raise IndexdError(
            f"{folder} belongs to another user or is writable by others; the socket would not be safe there"
        )


def _loopback(config: Config) -> Door:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
        # Windows lets another process bind the same port otherwise.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", config.settings.api.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise IndexdError(
            f"cannot listen on 127.0.0.1:{config.settings.api.port}: {error.strerror or error}; choose another `[api] port`"
        ) from None
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(32)
    write_token(config.places.token, port, token)
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    return Door(listener, hosts, token, config.places.token, _identity(config.places.token))


def write_token(file: Path, port: int, token: str) -> None:
    """Write port and token for this user alone, in one step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump({"port": port, "token": token}, stream)
    os.replace(partial, file)


def read_token(file: Path) -> tuple[int, str] | None:
    """Port and token that a daemon wrote, or None."""
    try:
        content = json.loads(file.read_text("utf-8"))
        return int(content["port"]), str(content["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity(path: Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
