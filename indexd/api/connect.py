"""Chooses where operations run: in the daemon when one listens, else in this process over the index itself."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from indexd.api.client import NOT_RESPONDING, DaemonAddress, RemoteOperations
from indexd.api.http.token import read_endpoint
from indexd.api.operations.registry import Operations
from indexd.config import client_paths
from indexd.errors import DaemonNotResponding, DaemonNotRunning, NothingFound

if TYPE_CHECKING:
    from indexd.config import Config

LOCK_WAIT_SECONDS = 2.0
LOCK_HELD_MESSAGE = "another indexd{holder} holds {index} and does not answer; it may be starting, so try again"


def daemon_address(config: Config) -> DaemonAddress | None:
    """Where the daemon of these settings listens; None when its endpoint file does not exist."""
    from indexd.api.http.listen import uses_unix_socket

    if uses_unix_socket(config):
        return DaemonAddress(socket_path=str(config.paths.socket))
    endpoint = read_endpoint(config.paths.token)
    return DaemonAddress(tcp_endpoint=endpoint) if endpoint else None


def find_daemon(config: Config) -> RemoteOperations | None:
    """The operations of the running daemon, or None when none listens. Raises DaemonNotResponding when it is frozen."""
    address = daemon_address(config)
    return None if address is None else _listening(address)


def find_running_daemon(home: Path | None) -> RemoteOperations | None:
    """The daemon of `home`, wherever it listens, found without the settings. Raises DaemonNotResponding when it is frozen."""
    places = client_paths(home)
    if hasattr(socket, "AF_UNIX") and (found := _listening(DaemonAddress(socket_path=str(places.socket)))) is not None:
        return found
    endpoint = read_endpoint(places.token)
    return None if endpoint is None else _listening(DaemonAddress(tcp_endpoint=endpoint))


def _listening(address: DaemonAddress) -> RemoteOperations | None:
    try:
        address.connect().close()
    except TimeoutError:
        raise DaemonNotResponding(NOT_RESPONDING) from None
    except OSError:
        return None
    return RemoteOperations(address)


def connect(config: Config, *, need_daemon: bool = False, write: bool = False) -> Operations:
    """The operations for these settings; the caller closes them.

    Without a daemon the index is opened read-only, or with `write` under the instance lock. Raises DaemonNotRunning
    with `need_daemon`, NothingFound when there is no index yet.
    """
    remote = find_daemon(config)
    if remote is not None:
        return remote
    if need_daemon:
        raise DaemonNotRunning("the daemon is not running; start it with `indexd run`")
    if not config.paths.index.exists():
        raise NothingFound(
            f"there is no index yet at {config.paths.index}; start the daemon with `indexd run`, or run `indexd scan --once`"
        )
    return _open_writable(config) if write else _open_read_only(config)


def _open_read_only(config: Config) -> Operations:
    from indexd.api.local import LocalOperations
    from indexd.store.sqlite.store import SqliteStore

    store = SqliteStore.open(config.paths.index, read_only=True)
    return LocalOperations(config, store, on_close=store.close)


def _open_writable(config: Config) -> Operations:
    from indexd.api.local import LocalOperations
    from indexd.instance_lock import instance_lock
    from indexd.store.sqlite.store import SqliteStore

    with ExitStack() as held:
        held.enter_context(instance_lock(config, wait_seconds=LOCK_WAIT_SECONDS, refusal=LOCK_HELD_MESSAGE))
        store = SqliteStore.open(config.paths.index)
        held.callback(store.close)
        return LocalOperations(config, store, on_close=held.pop_all().close)
