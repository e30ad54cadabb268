"""Which folders are watched, and which root owns a file in nested roots."""

from __future__ import annotations

import os
from pathlib import Path

from indexd.config import Config, read_config
from indexd.daemon import watched_roots
from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore
from indexd.watch.roots import watched_folders


def settings(tmp_path: Path, *roots: str, output: str = "output") -> Config:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    lines = [
        f'[paths]\noutput = "{tmp_path / output}"\n',
        *(f"[[roots]]\npath = '{tmp_path / root}'\n" for root in roots),
    ]
    (home / "indexd.toml").write_text("".join(lines), "utf-8")
    return read_config(home)


def test_a_file_in_nested_roots_belongs_to_the_innermost_one(tmp_path: Path) -> None:
    config = settings(tmp_path, "all", "all/new", "all/new/best", "allies", output="all/made")
    found = {
        Path(os.fsdecode(one.path)).name: one.watch_filter for one in watched_folders(config) if one.purpose == "images"
    }
    assert found["all"].includes_path(b"old/x.png")
    assert found["all"].includes_path(b"newer/x.png")
    assert found["all"].exclusion_reason(b"new/x.png") == "the folder new is watched by itself"
    assert not found["all"].enters(b"made")
    assert not found["all"].includes_path(b"new/best/deep/x.png")
    assert found["new"].includes_path(b"x.png")
    assert not found["new"].includes_path(b"best/x.png")
    assert found["best"].includes_path(b"deep/x.png")
    assert found["allies"].includes_path(b"new/x.png")


def seen(root: int, rel: bytes) -> ScannedFile:
    return ScannedFile(
        root, rel, FileStamp(5, 5, 5), ImageFacts(rel.ljust(32)[-32:], 5, "PNG", 8, 8, 1, ImageMetadata())
    )


def places(store: SqliteStore) -> list[str]:
    with store._database.read() as connection:
        rows = connection.execute("SELECT path, rel FROM file JOIN root ON root.id = root_id").fetchall()
    return sorted(f"{Path(os.fsdecode(path)).name}: {os.fsdecode(rel)}" for path, rel in rows)


def test_files_change_their_root_with_the_settings_and_keep_their_images(tmp_path: Path) -> None:
    with SqliteStore.open(tmp_path / "index.db") as store:
        (outer, *_) = watched_roots(settings(tmp_path, "all"), store)
        batch = [seen(outer.id, rel) for rel in (b"a.png", b"new/b.png", b"new/best/c.png", b"newer/d.png")]
        ids = [one.image_id or 0 for one in store.images.ingest(batch, 1.0)]
        store.annotations.rate(ids, 5)
        nested = watched_roots(settings(tmp_path, "all", "all/new", "all/new/best"), store)
        assert places(store) == ["all: a.png", "all: newer/d.png", "best: c.png", "new: b.png"]
        # Both had it, as they did before there was a rule.
        store.images.ingest(
            [seen(outer.id, b"new/b.png"), seen(nested[1].id, b"e.png"), seen(outer.id, b"new/e.png")], 2.0
        )
        watched_roots(settings(tmp_path, "all", "all/new", "all/new/best"), store)
        assert places(store) == ["all: a.png", "all: newer/d.png", "best: c.png", "new: b.png", "new: e.png"]
        watched_roots(settings(tmp_path, "all"), store)
        assert places(store) == [
            f"all: {rel}" for rel in ("a.png", "new/b.png", "new/best/c.png", "new/e.png", "newer/d.png")
        ]
        assert {row.rating for row in store.images.rows(ids).values()} == {5}


def test_a_removed_root_keeps_its_images_unless_another_root_contains_it(tmp_path: Path) -> None:
    with SqliteStore.open(tmp_path / "index.db") as store:
        root, *_ = watched_roots(settings(tmp_path, "one"), store)
        store.images.ingest([seen(root.id, b"a.png")], 1.0)
        watched_roots(settings(tmp_path, "two"), store)
        assert places(store) == ["one: a.png"]
