"""The service: whether it is installed, and up to date."""

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
    """State of this user's service, and of a system service for this user."""
    # With --home the settings are in the home, else in the standard location.
    home = config.paths.home if config.paths.settings_file.parent == config.paths.home else None
    order = build_service_spec(config, home)
    found = []
    for scope, manager in available_managers(order.user).items():
        try:
            standing = manager.status(order)
        except (IndexdError, OSError) as error:
            yield warning("service", f"its state is unknown: {error}", "run `indexd service status`")
            continue
        if standing.installed:
            found.append(scope)
            if standing.current:
                yield ok("service", standing.detail)
            else:
                yield warning("service", standing.detail, f"update it: indexd service install --{scope}")
    if not found:
        yield ok("service", "not installed; `indexd service install` keeps the daemon running")
    elif len(found) > 1:
        text = "installed twice, as user and as system service: only one can hold the index"
        yield warning("service", text, "indexd service uninstall --user, or --system")


def available_managers(user: str, platform: str = sys.platform) -> dict[str, ServiceManager]:
    """Service managers on this machine, by option name."""
    if platform == "win32":
        from indexd.service.windows_task import WindowsTask

        return {"task": WindowsTask()}
    if platform == "darwin":
        from indexd.service.launchd import Launchd

        return {"user": Launchd("user", user), "system": Launchd("system", user)}
    from indexd.service.systemd import SYSTEM_UNIT_FOLDER, Systemd

    found: dict[str, ServiceManager] = {"user": Systemd("user", user)}
    if os.path.isdir(Path(SYSTEM_UNIT_FOLDER, f"{SERVICE_NAME}@{user}.service.d")):
        found["system"] = Systemd("system", user)
    return found
