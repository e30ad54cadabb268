"""Describes the service: program, user, and writable folders; and the interface of service managers."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from indexd.config import Config
from indexd.service.installer import Installer

SERVICE_NAME = "indexd"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """The service to install.

    Missing `own_folders` are created; `writable_folders` may be on disks that are not mounted. Jobs also write to
    `extra_writable_folders`, which stay writable until the service is uninstalled.
    """

    program: tuple[str, ...]
    user: str
    own_folders: tuple[Path, ...] = ()
    writable_folders: tuple[Path, ...] = ()
    log_file: Path | None = None
    extra_writable_folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class InstallationStatus:
    """The status of the service. `current` is false when `install` would change a file; `detail` is for people."""

    installed: bool
    current: bool
    running: bool
    detail: str


class ServiceManager(Protocol):
    """A service manager. It writes files and runs commands only through `Installer`, which implements `--dry-run`."""

    def install(self, spec: ServiceSpec, installer: Installer, *, now: bool) -> None:
        """Install or update the service, to start with the system or the session; `now` also starts it at once."""
        ...

    def uninstall(self, installer: Installer) -> None:
        """Stop the service and remove only what `install` wrote."""
        ...

    def start(self, installer: Installer) -> None:
        """Start the service."""
        ...

    def stop(self, installer: Installer) -> None:
        """Stop the service cleanly."""
        ...

    def status(self, spec: ServiceSpec, /) -> InstallationStatus:
        """Get the status; changes nothing."""
        ...

    def logs(self, spec: ServiceSpec, lines: int, follow: bool, /) -> list[str] | Path:
        """The command that shows the log, or the log file."""
        ...


def daemon_command(home: Path | None) -> tuple[str, ...]:
    """The command that runs the daemon, by absolute path because a service has no virtual environment."""
    return (sys.executable, "-m", "indexd", *(("--home", str(home)) if home is not None else ()), "run")


def build_service_spec(
    config: Config, home: Path | None, *, user: str | None = None, extra_writable: Iterable[Path] = ()
) -> ServiceSpec:
    """Build the specification from the settings. `extra_writable` are further folders that jobs write to."""
    paths = config.paths
    own_folders = [
        paths.home,
        paths.cache,
        paths.thumbnails,
        paths.index.parent,
        paths.backups,
        paths.inbox,
        paths.output,
    ]
    if paths.log is not None:
        own_folders.append(paths.log.parent)
    roots = [Path(root.path) for root in config.settings.roots]
    return ServiceSpec(
        program=daemon_command(home),
        user=user or getpass.getuser(),
        own_folders=_outermost_folders(own_folders),
        writable_folders=_outermost_folders([*own_folders, *roots]),
        log_file=paths.log,
        extra_writable_folders=tuple(extra_writable),
    )


def _outermost_folders(folders: Iterable[Path]) -> tuple[Path, ...]:
    """The sorted folders without those that are inside another one."""
    outermost: list[Path] = []
    for folder in sorted(set(folders)):
        if not any(outer == folder or outer in folder.parents for outer in outermost):
            outermost.append(folder)
    return tuple(outermost)
