"""Checks the running daemon and the access to its HTTP API."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

from indexd.api.connect import find_daemon
from indexd.api.http.listen import uses_unix_socket
from indexd.api.http.token import read_user_token
from indexd.api.operations.status import status as fetch_status
from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd.errors import IndexdError
from indexd.fs.private_files import belongs_to_another_user, may_be_changed_by_others, may_be_opened_by_others


def check_daemon(config: Config) -> Iterator[DoctorFinding]:
    """Check that the daemon responds, has this version, and that no worker died."""
    remote = find_daemon(config)
    if remote is None:
        yield warning("daemon", "it is not running", "start it with `indexd run` or `indexd service start`")
        return
    status = remote.call(fetch_status)
    if status.version != version("indexd"):
        yield warning("daemon", f"it is version {status.version}, this command is {version('indexd')}", "restart it")
    else:
        yield ok("daemon", f"process {status.pid} responds")
    for root in status.roots:
        if not root.online and os.path.isdir(root.path):
            yield warning("folder", f"{root.path} is offline: {root.reason}", "put the right folder in its place again")
    deaths = sum(worker.deaths for worker in status.workers)
    if deaths:
        yield warning("workers", f"{deaths} died since the daemon started", "see the daemon's log and `indexd status`")


def check_api_access(config: Config) -> Iterator[DoctorFinding]:
    """Check that only this user can access the socket or the token file."""
    api = config.settings.api
    if not uses_unix_socket(config) and api.token_file:
        try:
            read_user_token(Path(api.token_file))
        except IndexdError as error:
            yield failed("token", str(error), "the daemon does not start with it")
    if api.allow_remote:
        text = f"{api.address}: other machines can send requests with the token, and requests are not encrypted"
        yield warning("api access", text, "use a TLS proxy or a tunnel, or remove `[api] address`")
    if os.name == "nt":
        yield ok("api access", "the token is in a folder of this user")
        return
    path = config.paths.socket if uses_unix_socket(config) else config.paths.token
    try:
        info = path.lstat()
    except FileNotFoundError:
        yield ok("api access", f"the daemon creates {path} at its start, only for this user")
        return
    if belongs_to_another_user(info):
        yield failed("api access", f"{path} belongs to another user", "stop that user's daemon, or set another --home")
    elif may_be_opened_by_others(info):
        text = f"{path} has mode {stat.S_IMODE(info.st_mode):04o}: other users can open it"
        yield failed("api access", text, f"chmod 600 {path}", partial(_restrict_to_owner, path))
    elif may_be_changed_by_others(path.parent.stat()):
        advice = f"chmod go-w {path.parent}"
        yield failed(
            "api access", f"other users can write to {path.parent}", advice, partial(_remove_others_write, path.parent)
        )
    else:
        yield ok("api access", f"only this user can open {path}")


def _restrict_to_owner(path: Path) -> str:
    path.chmod(0o600)
    return f"mode 0600 for {path}"


def _remove_others_write(folder: Path) -> str:
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    return f"{folder} is writable by its owner alone"
