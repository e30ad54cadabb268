"""A daemon that is ready needs no module of ours any more: there may be no handle left to read it with, or another version of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.system.loop.pictures import picture, write

WORK = """
import json, os, pathlib, sys, time
from indexd import config, daemon
from indexd.api.connect import connect
from indexd.api.operations import annotation, characters, images, jobs, status
from indexd.search.query.image_target import ImageTarget, format_target
from indexd_schemas.api.characters import CharacterListRequest
from indexd_schemas.api.library_reports import DuplicatesRequest, StatsRequest
from indexd_schemas.api.requests import ImageSelector, JobListRequest, RateRequest, SearchRequest

home = pathlib.Path(sys.argv[1])
settings = config.read_config(home)
running = daemon.Daemon(settings)
running.start()
try:
    loaded = set(sys.modules)
    refused = home / "inbox" / "failed" / "one.yaml.error.txt"
    (home / "inbox" / "draft").write_text("kind: txt2img\\nprompt: a cat\\n")
    (home / "inbox" / "draft").rename(home / "inbox" / "one.yaml")
    end = time.monotonic() + 40
    remote = connect(settings, need_daemon=True)
    while not (refused.exists() and remote.call(status.status).images) and time.monotonic() < end:
        time.sleep(0.05)
    target = format_target(ImageTarget(path=os.fsencode(home / "pictures" / "anna.png")))
    rated = remote.call(annotation.rate, RateRequest(targets=(target,), rating=4))
    shown = remote.call(images.show, ImageSelector(target=target))
    found = remote.call(images.query, SearchRequest(filters=("rating:4",)))
    done = [rated.changed, shown.image.rating, len(found.hits)]
    remote.call(status.metrics), remote.call(jobs.list_jobs, JobListRequest())
    remote.call(characters.list_characters, CharacterListRequest())
    remote.call(images.explain, ImageSelector(target=target))
    remote.call(images.duplicates, DuplicatesRequest()), remote.call(images.stats, StatsRequest())
    remote.close()
    later = sorted(name for name in set(sys.modules) - loaded if name.partition(".")[0].startswith("indexd"))
    print(json.dumps([refused.exists(), done, later]))
finally:
    running.stop()
"""


def test_a_ready_daemon_has_loaded_what_pictures_jobs_and_questions_need(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    write(tmp_path / "pictures", "anna.png", picture(1))
    (tmp_path / "indexd.toml").write_text(f'[[roots]]\npath = "{(tmp_path / "pictures").as_posix()}"\n', "utf-8")
    done = subprocess.run([sys.executable, "-c", WORK, str(tmp_path)], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, [1, 4, 1], []]
