"""All groups of checks, in display order. To add one, add a module to this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from indexd.config import Config, read_config
from indexd.doctor import (
    clock,
    daemon,
    data_folders,
    gpu,
    inbox,
    index,
    installation,
    leftovers,
    models,
    service,
    watched_folders,
)
from indexd.doctor.finding import DoctorFinding, failed
from indexd.errors import IndexdError
from indexd_schemas.api.output import DoctorCheck

CheckGroup = Callable[[Config], Iterator[DoctorFinding]]

GROUPS: dict[str, CheckGroup] = {
    "settings": installation.check_settings,
    "data folders": data_folders.check_data_folders,
    "index": index.check_index_health,
    "backups": index.check_backups,
    "daemon": daemon.check_daemon,
    "api access": daemon.check_api_access,
    "service": service.check_service,
    "folders": watched_folders.check_watched_folders,
    "job files": inbox.check_inbox,
    "watch limits": watched_folders.check_watch_limits,
    "models": models.check_models,
    "model files": models.check_model_files,
    "loras": models.check_loras,
    "gpu": gpu.check_gpu,
    "clock": clock.check_clock,
    "leftovers": leftovers.check_leftovers,
}


def run_checks(
    home: Path | None, *, fix: bool = False, on_group: Callable[[str], object] = lambda _: None
) -> Iterator[DoctorCheck]:
    """Run all checks; without valid settings, only those that need no settings. `fix` applies the fixes."""
    for finding in installation.check_packages():
        yield finding.check
    try:
        config = read_config(home)
    except IndexdError as error:
        yield failed("settings", str(error), "correct the file; `indexd config sample` lists every option").check
        return
    for name, group in GROUPS.items():
        on_group(name)
        for finding in _run_group(name, group, config):
            yield _apply_fix(finding) if fix and finding.fix is not None else finding.check


def _run_group(name: str, group: CheckGroup, config: Config) -> Iterator[DoctorFinding]:
    """Report an exception in a check as a finding, so that the other checks still run."""
    try:
        yield from group(config)
    except (IndexdError, OSError) as error:
        yield failed(name, str(error), "see the text, `indexd status` and the daemon's log")


def _apply_fix(finding: DoctorFinding) -> DoctorCheck:
    check = finding.check
    assert finding.fix is not None
    try:
        result = finding.fix()
    except (IndexdError, OSError) as error:
        return check.model_copy(update={"detail": f"{check.detail}; the fix failed: {error}"})
    return DoctorCheck(name=check.name, state="ok", detail=f"{check.detail}; fixed: {result}", fixed=True)
