"""What a daemon that is ready has loaded, and what waits for the first who asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# What each is for: pictures, job files, the nightly clock, questions, and what is seldom asked for.
NOT_YET = (
    "PIL",
    "ruamel.yaml",
    "apscheduler",
    "tzlocal",
    "faiss",
    "rich",
    "indexd_handlers",
    "indexd_schemas.job",
    "indexd.images.read",
    "indexd.images.metadata",
    "indexd.jobs.admit",
    "indexd.jobs.publish",
    "indexd.jobs.sift",
    "indexd.search.run",
    "indexd.api.keeping",
    "indexd.characters.operations",
    "indexd.duplicates",
    "indexd.statistics",
)

READY = """
import json, pathlib, sys
import indexd.cli.run
from indexd import config, daemon, serve
found = daemon.Daemon(config.load(pathlib.Path(sys.argv[1])))
found.start()
try:
    print(json.dumps(sorted(sys.modules)))
finally:
    found.stop()
"""


def test_a_ready_daemon_has_loaded_nothing_that_only_some_are_asked_for(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", READY, str(tmp_path)], capture_output=True, check=True, timeout=60)
    loaded = set(json.loads(done.stdout))
    assert {"indexd.api.server", "indexd.jobs.runner", "indexd.watch.service", "apsw"} <= loaded
    assert [name for name in NOT_YET if name in loaded] == []
