"""What is done by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tzlocal import get_localzone

from indexd.characters.clustering_service import ClusteringService
from indexd.characters.face_assigner import FaceAssigner
from indexd.config import read_config
from indexd.maintenance_scheduler import OVERDUE_BACKUP_DELAY, MaintenanceScheduler
from indexd.store.sqlite.recovery.backup_retention import list_backups
from indexd.store.sqlite.store import SqliteStore
from indexd.worker.fake_workers import FakeWorkers


def test_the_nightly_backup_is_planned_and_made_and_its_failure_is_told(tmp_path: Path) -> None:
    config = read_config(tmp_path / "home")
    told: list[tuple[str, str]] = []
    damage: list[BaseException] = []
    with SqliteStore.open(config.paths.index) as store:
        clusterer = ClusteringService(store, FakeWorkers, FaceAssigner(store, 0.75, 0.05), tmp_path, 10)
        upkeep = MaintenanceScheduler(
            store, config, lambda kind, text: told.append((kind, text)), damage.append, clusterer
        )
        upkeep.start()
        planned = {job.id: job for job in upkeep._scheduler.get_jobs()}
        # At an hour of the machine's own zone, not of the scheduler's.
        assert {str(planned[name].trigger.timezone) for name in ("backup", "clustering")} == {str(get_localzone())}
        assert set(planned) == {"backup", "clustering", "requantize", "trim memory", "inbox"}
        # There is no backup yet, so the first one does not wait for the night.
        until_backup = planned["backup"].next_run_time - datetime.now(UTC)
        assert timedelta() < until_backup <= OVERDUE_BACKUP_DELAY
        upkeep._back_up()
        assert len(list_backups(config.paths.backups)) == 1
        assert [kind for kind, _ in told] == ["backup"]
        config.paths.backups.rename(tmp_path / "away")
        config.paths.backups.write_text("in the way")
        upkeep._back_up()
        assert damage == []
        assert told[-1][0] == "backup failed"
        assert "cannot write the backup" in told[-1][1]
        upkeep._cluster()
        assert clusterer.wait(10).state == "done"
        upkeep.stop()
        clusterer.stop()


def test_job_files_that_are_not_read_are_reported_once_while_they_stay(tmp_path: Path) -> None:
    config = read_config(tmp_path / "home")
    told: list[tuple[str, str]] = []
    damage: list[BaseException] = []
    with SqliteStore.open(config.paths.index) as store:
        clusterer = ClusteringService(store, FakeWorkers, FaceAssigner(store, 0.75, 0.05), tmp_path, 10)
        upkeep = MaintenanceScheduler(
            store, config, lambda kind, text: told.append((kind, text)), damage.append, clusterer
        )
        upkeep.report_unread_job_files()
        assert told == []
        lost = config.paths.inbox / "june" / "job.yaml"
        lost.parent.mkdir(parents=True)
        lost.write_text("kind: txt2img\n", "utf-8")
        for _ in range(2):
            upkeep.report_unread_job_files()
        [(kind, text)] = told
        assert kind == "job files not read"
        assert str(lost) in text
        assert f"move them into {config.paths.inbox} itself" in text
        lost.unlink()
        upkeep.report_unread_job_files()
        lost.write_text("kind: txt2img\n", "utf-8")
        upkeep.report_unread_job_files()
        assert len(told) == 2
