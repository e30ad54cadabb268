"""Chooses who carries the operations out: the daemon where one answers, else this process over the index itself."""

from __future__ import annotations

from contextlib import ExitStack

from indexd.api.client import Address, RemoteOperations
from indexd.api.listen import uses_unix_socket
from indexd.api.operations import Operations
from indexd.api.token import read_entrance
from indexd.config import Config
from indexd.errors import DaemonNotRunning, NothingFound
from indexd.instance import instance_lock

LOCK_SECONDS = 2.0
SILENT = "another indexd{holder} is writing {index} and does not answer (it may be starting); try again"


def address_of(config: Config) -> Address | None:
    """Where the daemon of these settings would listen; None when it has left no token."""
    if uses_unix_socket(config):
        return Address(socket_path=str(config.places.socket))
    entrance = read_entrance(config.places.token)
    return Address(entrance=entrance) if entrance else None


def daemon(config: Config) -> RemoteOperations | None:
    """The operations of the running daemon, or None when nobody listens."""
    address = address_of(config)
    if address is None:
        return None
    try:
        address.connect().close()
    except OSError:
        return None
    return RemoteOperations(address)


def connect(config: Config, *, need_daemon: bool = False, write: bool = False) -> Operations:
    """The operations for these settings; the caller closes them.

    Without a daemon the index is opened read-only, or with `write` under the instance lock. Raises DaemonNotRunning
    when `need_daemon` says so, NothingFound when there is no index yet.
    """
    remote = daemon(config)
    if remote is not None:
        return remote
    if need_daemon:
        raise DaemonNotRunning("the daemon is not running; start it with `indexd run`")
    if not config.places.index.exists():
        raise NothingFound(
            f"there is no index yet at {config.places.index}; start the daemon with `indexd run`, or run `indexd scan --once`"
        )
    return _writer(config) if write else _reader(config)


def _reader(config: Config) -> Operations:
    from indexd.api.local import LocalOperations
    from indexd.store.index import Store

    store = Store.open(config.places.index, read_only=True)
    return LocalOperations(config, store, at_end=store.close)


def _writer(config: Config) -> Operations:
    from indexd.api.local import LocalOperations
    from indexd.store.index import Store

    with ExitStack() as held:
        held.enter_context(instance_lock(config, wait_seconds=LOCK_SECONDS, refusal=SILENT))
        store = Store.open(config.places.index)
        held.callback(store.close)
        return LocalOperations(config, store, at_end=held.pop_all().close)
