"""What is done by the clock."""

from __future__ import annotations

from pathlib import Path

from tzlocal import get_localzone

from indexd.characters.clusterer import Clusterer
from indexd.characters.keeper import Keeper
from indexd.config import load
from indexd.store.index import Store
from indexd.store.rotation import backups
from indexd.upkeep import Upkeep
from indexd.worker.fake import FakeWorkers


def test_the_nightly_backup_is_planned_and_made_and_its_failure_is_told(tmp_path: Path) -> None:
    config = load(tmp_path / "home")
    told: list[tuple[str, str]] = []
    damage: list[BaseException] = []
    with Store.open(config.places.index) as store:
        clusterer = Clusterer(store, FakeWorkers, Keeper(store, 0.75, 0.05), tmp_path, 10)
        upkeep = Upkeep(store, config, lambda kind, text: told.append((kind, text)), damage.append, clusterer)
        upkeep.start()
        planned = {job.id: job for job in upkeep._clock.get_jobs()}
        # At an hour of the machine's own zone, not of the scheduler's.
        assert {str(planned[name].trigger.timezone) for name in ("backup", "clustering")} == {str(get_localzone())}
        # Besides the codes and the memory: there is no backup yet, so one is made up for soon.
        assert len(planned) == 5
        upkeep._back_up()
        assert len(backups(config.places.backups)) == 1
        assert [kind for kind, _ in told] == ["backup"]
        config.places.backups.rename(tmp_path / "away")
        config.places.backups.write_text("in the way")
        upkeep._back_up()
        assert damage == []
        assert told[-1][0] == "backup failed"
        assert "cannot write the backup" in told[-1][1]
        upkeep._cluster()
        assert clusterer.wait(10).state == "done"
        upkeep.stop()
