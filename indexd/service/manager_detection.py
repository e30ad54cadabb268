"""Chooses the service manager and the user of the service."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexd.config import Config, default_config, read_config
from indexd.errors import SettingsError, UsageError
from indexd.service.installer import Installer
from indexd.service.service_spec import ServiceManager, ServiceSpec, build_service_spec


@dataclass(frozen=True, slots=True)
class DetectedService:
    """The manager, its service, and the owner of new folders (user id, group id; None = the current user)."""

    manager: ServiceManager
    spec: ServiceSpec
    owner: tuple[int, int] | None = None

    def installer(self, echo: Callable[[str], None], *, dry_run: bool = False, replace: bool = False) -> Installer:
        return Installer(echo, dry_run=dry_run, replace=replace, owner=self.owner)


def detect_service(
    scope: str,
    home: Path | None,
    *,
    user: str | None = None,
    extra_writable: Sequence[Path] = (),
    need_settings: bool = True,
    platform: str = sys.platform,
) -> DetectedService:
    """Detect the manager for `scope` (user, system, task). Raises UsageError when this system has none.

    Without `need_settings`, defaults replace invalid settings, so that a service can still be stopped or uninstalled.
    """
    if user is not None and scope != "system":
        raise UsageError("--run-as needs --system: it names the user of a system service")
    if platform == "win32":
        return _detect_on_windows(scope, user, _load_config(home, need_settings), home)
    if scope == "task":
        raise UsageError("--task needs the Task Scheduler of Windows; omit it on this system")
    if scope == "user":
        spec = build_service_spec(_load_config(home, need_settings), home, extra_writable=extra_writable)
        return DetectedService(_unix_manager(platform, "user", spec.user), spec)
    name = user or os.environ.get("SUDO_USER") or getpass.getuser()
    with _environment_of(name) as owner:
        spec = build_service_spec(_load_config(home, need_settings), home, user=name, extra_writable=extra_writable)
    return DetectedService(_unix_manager(platform, "system", name), spec, owner)


def _unix_manager(platform: str, scope: str, user: str) -> ServiceManager:
    if platform == "darwin":
        from indexd.service.launchd import Launchd

        return Launchd("system" if scope == "system" else "user", user)
    from indexd.service.systemd import Systemd

    return Systemd("system" if scope == "system" else "user", user)


def _load_config(home: Path | None, required: bool) -> Config:
    try:
        return read_config(home)
    except SettingsError:
        if required:
            raise
        return default_config(home)


def _detect_on_windows(scope: str, user: str | None, config: Config, home: Path | None) -> DetectedService:
    spec = build_service_spec(config, home, user=user)
    if scope == "system":
        from indexd.service.windows_service import WindowsService

        return DetectedService(WindowsService(), spec)
    from indexd.service.windows_task import WindowsTask

    return DetectedService(WindowsTask(), spec)


@contextlib.contextmanager
def _environment_of(name: str) -> Iterator[tuple[int, int] | None]:
    """Set the environment of another user for the default paths. Yields its ids, or None for the current user."""
    if sys.platform == "win32":
        raise UsageError("Windows runs the service as the user who installs it; leave out --run-as")
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"there is no user {name!r} on this system") from None
    if entry.pw_uid == os.getuid():
        yield None
        return
    saved = dict(os.environ)
    for variable in [variable for variable in os.environ if variable.startswith("XDG_")]:
        del os.environ[variable]
    os.environ["HOME"] = entry.pw_dir
    try:
        yield entry.pw_uid, entry.pw_gid
    finally:
        os.environ.clear()
        os.environ.update(saved)
