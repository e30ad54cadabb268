"""Reconcile of 100 000 unchanged files, compared with a plain walk by os.scandir and stat over the same tree.

Our time includes loading the known file stamps from a real index.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.support.report import print_result
from indexd.store.protocols import IndexStore
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.watch.scan.index_snapshot import IndexSnapshot
from indexd.watch.scan.reconcile import TreeComparison
from indexd.watch.watch_filter import WatchFilter

FOLDERS, FILES_PER_FOLDER = 100, 1000
ROUNDS = 9


def make_tree(root: Path) -> None:
    """Create the tree: many small files in some folders."""
    for folder in range(FOLDERS):
        path = root / f"2026-{folder:03}"
        path.mkdir()
        for number in range(FILES_PER_FOLDER):
            (path / f"{number:05}-1234567890.png").touch()


def bare_walk(root: bytes) -> int:
    """The limit: list every entry and call stat, nothing else."""
    count, folders = 0, [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def index_tree(store: IndexStore, root: bytes) -> int:
    """Record every file of the tree as seen. Returns the id of the root."""
    root_id = store.roots.ensure(root, "images").id
    for batch in TreeComparison(root, IndexSnapshot(), WatchFilter()).iter_changes():
        store.images.ingest([ScannedFile(root_id, rel, stamp, None, "empty") for rel, stamp, *_ in batch], time.time())
    return root_id


def count_unchanged(root: bytes, known: IndexSnapshot) -> int:
    """Run our reconcile. Returns the number of unchanged files."""
    comparison = TreeComparison(root, known, WatchFilter())
    found = sum(len(batch) for batch in comparison.iter_changes())
    assert found == 0
    assert not list(comparison.iter_unseen())
    return comparison.report.unchanged


def timed(body: Callable[[], int]) -> float:
    """Seconds of one run. Every file must be seen."""
    started = time.perf_counter()
    count = body()
    seconds = time.perf_counter() - started
    assert count == FOLDERS * FILES_PER_FOLDER
    return seconds


def main() -> None:
    """Alternate both, and print the best of each."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        make_tree(tree)
        root = os.fsencode(tree)
        store = SqliteStore.open(Path(folder) / "index.db")
        files, root_id = store.files, index_tree(store, root)
        ours, bare, loading = [], [], []
        for _ in range(ROUNDS):
            bare.append(timed(lambda: bare_walk(root)))
            ours.append(timed(lambda: count_unchanged(root, IndexSnapshot(files.iter_present(root_id)))))
            loading.append(timed(lambda: IndexSnapshot(files.iter_present(root_id)).count))
        store.close()
    print_result(
        "reconcile of 100 000 unchanged files", min(ours), "s", min(bare), "plain scandir + stat", "ratio <= 2"
    )
    print_result("  of which loading what is known", min(loading), "s")


if __name__ == "__main__":
    main()
