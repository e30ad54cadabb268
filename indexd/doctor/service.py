"""Checks that the service is up to date and installed only once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, ok, warning
from indexd.errors import IndexdError
from indexd.service.service_spec import SERVICE_NAME, ServiceManager, build_service_spec


def check_service(config: Config) -> Iterator[DoctorFinding]:
    """Check the service of this user, and the system service that runs as this user."""
    # With --home the settings are in the home, else in the standard location.
    home = config.paths.home if config.paths.settings_file.parent == config.paths.home else None
    spec = build_service_spec(config, home)
    installed = []
    for scope, manager in available_managers(spec.user).items():
        try:
            status = manager.status(spec)
        except (IndexdError, OSError) as error:
            yield warning("service", f"its state is unknown: {error}", "run `indexd service status`")
            continue
        if status.installed:
            installed.append(scope)
            if status.current:
                yield ok("service", status.detail)
            else:
                yield warning("service", status.detail, f"update it: indexd service install --{scope}")
    if not installed:
        yield ok("service", "not installed; `indexd service install` keeps the daemon running")
    elif len(installed) > 1:
        text = "installed twice, as user and as system service: only one can hold the index"
        yield warning("service", text, "indexd service uninstall --user, or --system")


def available_managers(user: str, platform: str = sys.platform) -> dict[str, ServiceManager]:
    """The service managers of this machine by the name of their option."""
    if platform == "win32":
        from indexd.service.windows_task import WindowsTask

        return {"task": WindowsTask()}
    if platform == "darwin":
        from indexd.service.launchd import Launchd

        return {"user": Launchd("user", user), "system": Launchd("system", user)}
    from indexd.service.systemd import SYSTEM_UNIT_FOLDER, Systemd

    managers: dict[str, ServiceManager] = {"user": Systemd("user", user)}
    if os.path.isdir(Path(SYSTEM_UNIT_FOLDER, f"{SERVICE_NAME}@{user}.service.d")):
        managers["system"] = Systemd("system", user)
    return managers
