"""The real daemon as a monitoring system and a person who waits for his pictures see it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from indexd.api.connect import connect
from indexd.api.operations import status
from indexd.config import read_config
from indexd.demo.daemon_process import DaemonProcess
from indexd.store.records import NewJob, NewJobItem
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.job_state import JobState
from tests.system.loop.pictures import picture, write


def test_ready_metrics_and_a_job_that_ended_before_the_start_is_told_of_once(bare_home: Path) -> None:
    told = bare_home / "told"
    script = f"import os; open({str(told)!r}, 'a').write(os.environ['INDEXD_JOB_NAME'] + chr(10))"
    settings = bare_home / "indexd.toml"
    settings.write_text(settings.read_text() + f"[notify]\ncommand = ['{sys.executable}', '-S', '-c', \"{script}\"]\n")
    config = read_config(bare_home)
    with SqliteStore.open(config.paths.index) as store:
        job = store.jobs.admit(
            NewJob("fox", "txt2img", b"", "k", None, 0, (NewJobItem(0, 1, b"/out/1.png", {"seed": 1}),))
        )
        store.jobs.mark_item_failed(store.jobs.items(job.id)[0].id, "no card", retry_at=None)
        store.jobs.finish(job.id, JobState.FAILED, "no card", unnotified=True)
        store.jobs.set_file_location(job.id, "failed")
    write(config.paths.output, "one.png", picture(1))
    for _ in range(2):
        with DaemonProcess(bare_home) as daemon:
            operations = connect(config, need_daemon=True)
            end = time.monotonic() + 30
            while not (operations.call(status.ready).ready and told.exists()) and time.monotonic() < end:
                time.sleep(0.05)
            assert operations.call(status.ready).reasons == []
            # The daemon is ready before a reader process has read the first image.
            daemon.wait_until("the image", lambda shown: shown.images == 1, 60)
            numbers = operations.call(status.metrics)
            assert "\nindexd_images 1\n" in numbers
            assert '\nindexd_jobs{state="failed"} 1\n' in numbers
            assert f'indexd_root_online{{path="{config.paths.output}",purpose="images"}} 1' in numbers
            if os.path.exists(f"/proc/{daemon.pid}/statm"):
                assert 'indexd_resident_memory_bytes{process="daemon"} ' in numbers
            assert 'indexd_thread_silent_seconds{thread="api"} 0' in numbers
    assert told.read_text() == "fox\n"
