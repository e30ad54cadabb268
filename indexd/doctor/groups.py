"""Every group of checks, in the order in which one would look; adding one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from indexd.config import Config, load
from indexd.doctor import card, clock, daemon, folders, inbox, index, leftovers, loras, models, places, program, unit
from indexd.doctor.finding import Finding, failed
from indexd.errors import IndexdError
from indexd_schemas.output import Check

Group = Callable[[Config], Iterator[Finding]]

GROUPS: dict[str, Group] = {
    "settings": program.look_at_settings,
    "places": places.look,
    "index": index.look,
    "backups": index.look_at_backups,
    "daemon": daemon.look,
    "door": daemon.look_at_door,
    "service": unit.look,
    "folders": folders.look,
    "job files": inbox.look,
    "watch limits": folders.look_at_limits,
    "models": models.look,
    "loras": loras.look,
    "card": card.look,
    "clock": clock.look,
    "leftovers": leftovers.look,
}


def examine(
    home: Path | None, *, fix: bool = False, on_group: Callable[[str], object] = lambda _: None
) -> Iterator[Check]:
    """Every check; those that need settings are left out when the settings cannot be read. With `fix`, cured ones too."""
    for finding in program.look_at_packages():
        yield finding.check
    try:
        config = load(home)
    except IndexdError as error:
        yield failed("settings", str(error), "correct the file; `indexd config sample` prints every option").check
        return
    for name, group in GROUPS.items():
        on_group(name)
        for finding in _guarded(name, group, config):
            yield _cured(finding) if fix and finding.fix is not None else finding.check


def _guarded(name: str, group: Group, config: Config) -> Iterator[Finding]:
    """A check that itself breaks is a finding and does not hide the others."""
    try:
        yield from group(config)
    except (IndexdError, OSError) as error:
        yield failed(name, str(error), "see the text; `indexd status` and the daemon's log may say more")


def _cured(finding: Finding) -> Check:
    check = finding.check
    assert finding.fix is not None
    try:
        done = finding.fix()
    except (IndexdError, OSError) as error:
        return check.model_copy(update={"detail": f"{check.detail}; it could not be cured: {error}"})
    return Check(name=check.name, state="ok", detail=f"{check.detail}; cured: {done}", fixed=True)
