"""What a service manager runs: the program, its user, its home, and the folders that it may write to."""

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
    """`program` ends with `run`. `own` folders are made where they are missing, `writable` ones may lie on absent disks.

    `more` are further folders that jobs write to; once named they stay.
    """

    program: tuple[str, ...]
    user: str
    own_folders: tuple[Path, ...] = ()
    writable_folders: tuple[Path, ...] = ()
    log_file: Path | None = None
    extra_writable_folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class InstallationStatus:
    """How the service stands: `current` = what install would write now is what is there; `detail` says it in words."""

    installed: bool
    current: bool
    running: bool
    detail: str


class ServiceManager(Protocol):
    """One way of keeping the daemon running. What is written or run goes through `Hands`, so that it can be shown only."""

    def install(self, spec: ServiceSpec, installer: Installer, *, now: bool) -> None:
        """Write what is needed and have it started with the system or the session; `now` also starts it. Repeatable."""
        ...

    def uninstall(self, installer: Installer) -> None:
        """Stop it and take away what install wrote, and nothing else."""
        ...

    def start(self, installer: Installer) -> None:
        """Start it."""
        ...

    def stop(self, installer: Installer) -> None:
        """Stop it in good order."""
        ...

    def status(self, spec: ServiceSpec, /) -> InstallationStatus:
        """The status of the service; changes nothing."""
        ...

    def logs(self, spec: ServiceSpec, lines: int, follow: bool, /) -> list[str] | Path:
        """The command that shows the log, or the log file."""
        ...


def daemon_command(home: Path | None) -> tuple[str, ...]:
    """The command that runs this installation by absolute path: a service has no PATH and no virtual environment."""
    return (sys.executable, "-m", "indexd", *(("--home", str(home)) if home is not None else ()), "run")


def build_service_spec(
    config: Config, home: Path | None, *, user: str | None = None, extra_writable: Iterable[Path] = ()
) -> ServiceSpec:
    """The order that follows from the settings; `more` are further folders that jobs write to."""
    places = config.paths
    own = [
        places.home,
        places.cache,
        places.thumbnails,
        places.index.parent,
        places.backups,
        places.inbox,
        places.output,
    ]
    if places.log is not None:
        own.append(places.log.parent)
    roots = [Path(root.path) for root in config.settings.roots]
    return ServiceSpec(
        program=daemon_command(home),
        user=user or getpass.getuser(),
        own_folders=_outermost_folders(own),
        writable_folders=_outermost_folders([*own, *roots]),
        log_file=places.log,
        extra_writable_folders=tuple(extra_writable),
    )


def _outermost_folders(folders: Iterable[Path]) -> tuple[Path, ...]:
    """The folders, sorted, without those that lie in another one of them."""
    kept: list[Path] = []
    for folder in sorted(set(folders)):
        if not any(outer == folder or outer in folder.parents for outer in kept):
            kept.append(folder)
    return tuple(kept)
