"""Which service manager keeps the daemon running here, and for whom."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexd.config import Config, defaults, load
from indexd.errors import SettingsError, UsageError
from indexd.service.hands import Hands
from indexd.service.order import Order, ServiceManager, order_of


@dataclass(frozen=True, slots=True)
class Chosen:
    """The manager, what it is to run, and to whom new folders belong (None = to whoever asks)."""

    manager: ServiceManager
    order: Order
    owner: tuple[int, int] | None = None

    def hands(self, say: Callable[[str], None], *, dry_run: bool = False, replace: bool = False) -> Hands:
        """Hands that work for this one."""
        return Hands(say, dry_run=dry_run, replace=replace, owner=self.owner)


def choose(
    scope: str,
    home: Path | None,
    *,
    user: str | None = None,
    more: Sequence[Path] = (),
    need_settings: bool = True,
    platform: str = sys.platform,
) -> Chosen:
    """The manager for `scope` (user, system, task). Raises UsageError where there is none of that kind.

    Without `need_settings` broken ones are taken for empty ones: a service can be stopped and taken away all the same.
    """
    if user is not None and scope != "system":
        raise UsageError("--for names the user of a service of the system; say --system as well")
    if platform == "win32":
        return _windows(scope, user, _config(home, need_settings), home)
    if scope == "task":
        raise UsageError("--task is the Task Scheduler of Windows; leave it out here")
    if scope == "user":
        order = order_of(_config(home, need_settings), home, more=more)
        return Chosen(_manager(platform, "user", order.user), order)
    name = user or os.environ.get("SUDO_USER") or getpass.getuser()
    with _home_of(name) as owner:
        order = order_of(_config(home, need_settings), home, user=name, more=more)
    return Chosen(_manager(platform, "system", name), order, owner)


def _manager(platform: str, scope: str, user: str) -> ServiceManager:
    if platform == "darwin":
        from indexd.service.launchd import Launchd

        return Launchd("system" if scope == "system" else "user", user)
    from indexd.service.systemd import Systemd

    return Systemd("system" if scope == "system" else "user", user)


def _config(home: Path | None, need: bool) -> Config:
    try:
        return load(home)
    except SettingsError:
        if need:
            raise
        return defaults(home)


def _windows(scope: str, user: str | None, config: Config, home: Path | None) -> Chosen:
    order = order_of(config, home, user=user)
    if scope == "system":
        from indexd.service.windows_service import WindowsService

        return Chosen(WindowsService(), order)
    from indexd.service.windows_task import WindowsTask

    return Chosen(WindowsTask(), order)


@contextlib.contextmanager
def _home_of(name: str) -> Iterator[tuple[int, int] | None]:
    """Within the block the usual places are those of another user. Gives whose they are, None = our own."""
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"there is no user {name!r} on this system") from None
    if entry.pw_uid == os.getuid():
        yield None
        return
    before = dict(os.environ)
    for variable in [variable for variable in os.environ if variable.startswith("XDG_")]:
        del os.environ[variable]
    os.environ["HOME"] = entry.pw_dir
    try:
        yield entry.pw_uid, entry.pw_gid
    finally:
        os.environ.clear()
        os.environ.update(before)
