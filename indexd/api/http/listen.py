"""Opens the listening socket: a Unix socket that only its owner can open, or TCP with a token that only its owner can read."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexd.api.http.token import TcpEndpoint, new_token, read_user_token, write_endpoint
from indexd.errors import IndexdError, is_resource_shortage
from indexd.fs.file_stamp import file_identity
from indexd.fs.private_files import belongs_to_another_user, may_be_changed_by_others

if TYPE_CHECKING:
    from indexd.config import Config, ResolvedPaths

BACKLOG = 64
NO_UNIX_SOCKETS = 'this system has no Unix sockets; set `[api] listen = "auto"`'
UNIX_HOSTS = frozenset({"indexd", "localhost"})


class ListeningSocket(socket.socket):
    """A socket that reports a shortage of file handles once, then blocks; the client waits meanwhile.

    asyncio pauses for a second after a shortage. But some versions first call `accept` as often as the backlog allows (2048
    times with uvicorn's default), log each refusal with its traceback, and set a timer for each.
    """

    _shortage_reported = False

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises BlockingIOError when there is none, or when the call before reported a shortage."""
        if self._shortage_reported:
            self._shortage_reported = False
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        try:
            return super().accept()
        except BlockingIOError:
            raise
        except OSError as error:
            self._shortage_reported = is_resource_shortage(error)
            raise


@dataclass(frozen=True, slots=True)
class ApiListener:
    """A listening socket, the Host names it accepts, and the token it requires (None on a Unix socket)."""

    socket: socket.socket
    hosts: frozenset[str]
    token: str | None
    path: Path
    identity: tuple[int, int] | None

    def is_in_place(self) -> bool:
        """Whether the socket or token file is still the one that was made."""
        return self.identity is not None and file_identity(self.path, follow_symlinks=False) == self.identity

    def close(self) -> None:
        """Stop listening, and remove the socket or token file if it is still ours."""
        self.socket.close()
        try:
            if self.is_in_place():
                os.unlink(self.path)
        except OSError:
            # The file is gone, or its folder was removed: there is nothing to remove.
            return


def uses_unix_socket(config: Config) -> bool:
    """Whether the API listens on a Unix socket. `auto` does so wherever Python supports them (not on Windows)."""
    listen = config.settings.api.listen
    if listen == "unix" and not hasattr(socket, "AF_UNIX"):
        raise IndexdError(NO_UNIX_SOCKETS)
    return listen == "unix" or (listen == "auto" and hasattr(socket, "AF_UNIX"))


def open_listener(config: Config) -> ApiListener:
    """Start listening. The caller holds the instance lock, so an existing socket belongs to a daemon that ended."""
    return _listen_unix(config.paths) if uses_unix_socket(config) else _listen_tcp(config)


def _listen_unix(places: ResolvedPaths) -> ApiListener:
    if sys.platform == "win32":
        raise IndexdError(NO_UNIX_SOCKETS)
    path = places.socket
    _ensure_private_folder(path.parent)
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise IndexdError(f"{path} is in the way of the socket and is no socket; move it elsewhere")
        os.unlink(path)
    listener = ListeningSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # No client can connect between bind and listen, so the mode is set before the first connection, whatever the
        # umask is. The umask itself belongs to the whole process.
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise IndexdError(f"cannot open the socket {path}: {error.strerror or error}") from None
    return ApiListener(listener, UNIX_HOSTS, None, path, file_identity(path, follow_symlinks=False))


def _ensure_private_folder(folder: Path) -> None:
    """Create the folder, and check that no other user can write to it (it may be in the shared temporary folder)."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise IndexdError(
            f"cannot make the folder {folder} for the socket or the token: {error.strerror or error}"
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        # A link of the user is fine; a link of another user in the shared temporary folder is an attack.
        found = os.stat(folder)
        if belongs_to_another_user(os.lstat(folder)):
            raise IndexdError(f"{folder} is a link of another user; set another --home")
    if belongs_to_another_user(found) or may_be_changed_by_others(found):
        raise IndexdError(
            f"{folder} belongs to another user or is writable by others; neither socket nor token would be safe there"
        )


def _listen_tcp(config: Config) -> ApiListener:
    api, places = config.settings.api, config.paths
    token = read_user_token(Path(api.token_file)) if api.token_file else new_token()
    _ensure_private_folder(places.token.parent)
    address = ip_address(api.address)
    listener = ListeningSocket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
        # Otherwise Windows lets another process bind the same port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((api.address, api.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise IndexdError(
            f"cannot listen on {api.address}, port {api.port}: {error.strerror or error}; choose another `[api] port`"
        ) from None
    port = listener.getsockname()[1]
    # A listener on every address is reached on loopback.
    near = ("::1" if address.version == 6 else "127.0.0.1") if address.is_unspecified else api.address
    write_endpoint(places.token, TcpEndpoint(near, port, token))
    names = {"127.0.0.1", "localhost", near} if address.version == 4 else {"::1", "localhost", near}
    hosts = frozenset({host_header(name, port) for name in names} | {name.lower() for name in api.hosts})
    return ApiListener(listener, hosts, token, places.token, file_identity(places.token, follow_symlinks=False))


def host_header(address: str, port: int) -> str:
    """The value of the Host header for an address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
