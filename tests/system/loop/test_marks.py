"""What a person put in, on the real daemon: it follows a picture through moves, renames, copies and edits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from indexd.demo.daemon_process import DaemonProcess, is_settled
from tests.system.loop.test_loop import indexd


def painting(path: Path, seed: int, text: str, fmt: str = "PNG") -> Path:
    """A picture with something in it; `seed` says what is seen, `text` what its metadata say."""
    chance = np.random.default_rng(seed)
    rough = Image.fromarray(chance.integers(0, 255, (12, 12, 3), dtype=np.uint8))
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", f"{text}\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {seed}, Size: 192x192")
    path.parent.mkdir(parents=True, exist_ok=True)
    rough.resize((192, 192), Image.Resampling.BICUBIC).save(path, fmt, **({"pnginfo": info} if fmt == "PNG" else {}))
    return path


def shown(home: Path, path: Path) -> Any:
    ran = indexd(home, "show", str(path), "--json")
    return json.loads(ran.stdout)["image"] if ran.returncode == 0 else {}


def marks(home: Path, path: Path) -> tuple[int | None, list[str], str | None]:
    image = shown(home, path)
    return image.get("rating"), image.get("tags", []), image.get("note")


def wait_settled(daemon: DaemonProcess, images: int) -> None:
    daemon.wait_until(f"{images} pictures", lambda status: status.images == images and _done(status), 60)


def _done(status: Any) -> bool:
    # The models are off here: their layers wait, and only what needs none must be done.
    open_work = {stage: states for stage, states in status.pending.items() if stage in ("thumbnail", "replacement")}
    return is_settled(status) or not any(sum(states.values()) for states in open_work.values())


def test_marks_follow_a_picture_through_move_rename_copy_and_edit(bare_home: Path) -> None:
    pictures = bare_home / "output"
    with DaemonProcess(bare_home) as daemon:
        one = painting(pictures / "one.png", 1, "a lighthouse")
        other = painting(pictures / "output.png", 2, "a cat")
        wait_settled(daemon, 2)
        for path in (one, other):
            assert indexd(bare_home, "rate", str(path), "4").returncode == 0
        assert indexd(bare_home, "tag", str(one), "+style/anime", "+keep").returncode == 0
        assert indexd(bare_home, "note", str(one), "for the cover").returncode == 0
        said = (4, ["keep", "style/anime"], "for the cover")
        assert marks(bare_home, one) == said

        moved = pictures / "best" / "renamed.png"
        moved.parent.mkdir()
        one.rename(moved)
        shutil.copyfile(moved, pictures / "copy.png")
        indexd(bare_home, "scan")
        wait_settled(daemon, 2)
        assert marks(bare_home, moved) == said
        assert marks(bare_home, pictures / "copy.png") == said

        # Rewritten metadata, in place and by a rename; the copy keeps its own content.
        painting(moved, 1, "a lighthouse at dusk")
        wait_settled(daemon, 3)
        assert shown(bare_home, moved)["prompt"] == "a lighthouse at dusk"
        assert marks(bare_home, moved) == said
        assert marks(bare_home, pictures / "copy.png") == said
        painting(pictures / "saving.part", 1, "a lighthouse by night").rename(moved)
        wait_settled(daemon, 4)
        assert shown(bare_home, moved)["prompt"] == "a lighthouse by night"
        assert marks(bare_home, moved) == said

        # Another picture over the same name inherits nothing, and the rating stays with what was rated.
        painting(other, 3, "a dog")
        wait_settled(daemon, 5)
        assert shown(bare_home, other)["prompt"] == "a dog"
        assert marks(bare_home, other) == (None, [], None)
        gone = json.loads(indexd(bare_home, "query", "missing:yes", "rating:4", "prompt:cat", "--json").stdout)
        assert [hit["image"]["prompt"] for hit in gone["hits"]] == ["a cat"]
        status = daemon.status()
        assert status is not None
        assert any("edited" in event.text for event in status.events)


def test_an_edit_while_the_daemon_is_away_is_recognised(bare_home: Path) -> None:
    path = bare_home / "output" / "a.png"
    with DaemonProcess(bare_home) as daemon:
        painting(path, 5, "first")
        wait_settled(daemon, 1)
        indexd(bare_home, "rate", str(path), "5")
    painting(path, 5, "second")
    with DaemonProcess(bare_home) as daemon:
        wait_settled(daemon, 2)
        assert marks(bare_home, path)[0] == 5


def test_a_tree_on_another_disk_is_relocated_exported_imported_and_forgotten(bare_home: Path) -> None:
    old, new = bare_home / "old disk", bare_home / "new disk"
    settings = (bare_home / "indexd.toml").read_text("utf-8")
    root = '[[roots]]\npath = "{}"\nfolder_tags = true\n'
    (bare_home / "indexd.toml").write_text(settings + root.format(old), "utf-8")
    with DaemonProcess(bare_home) as daemon:
        for number in range(3):
            painting(old / "portraits" / f"{number}.png", 10 + number, f"number {number}")
        wait_settled(daemon, 3)
        assert indexd(bare_home, "rate", "--query", "tag:portraits", "5").stdout == "3 changed\n"
    shutil.copytree(old, new)  # keeps times, as a file manager does; the inodes are new
    shutil.rmtree(old)
    refused = indexd(bare_home, "relocate", "--from", str(bare_home / "nothing"), "--to", str(new))
    assert refused.returncode == 2
    relocated = indexd(bare_home, "relocate", "--from", str(old), "--to", str(new))
    assert relocated.stdout.splitlines() == [f"{old} -> {new}", f"moved 3 file entries to {new}"]
    assert f'change path = "{old}" to "{new}"' in relocated.stderr
    (bare_home / "indexd.toml").write_text(settings + root.format(new), "utf-8")
    with DaemonProcess(bare_home) as daemon:
        wait_settled(daemon, 3)
        status = daemon.wait_until("the scan", lambda status: all(root.last_reconcile for root in status.roots), 30)
        assert (status.images, status.files, status.missing_files) == (3, 3, 0)
        assert shown(bare_home, new / "portraits" / "1.png")["rating"] == 5
        assert shown(bare_home, new / "portraits" / "1.png")["folder_tags"] == ["portraits"]

        lines = indexd(bare_home, "export").stdout.splitlines()
        assert len(lines) == 4
        assert {json.loads(line)["rating"] for line in lines[1:]} == {5}

        (new / "portraits" / "2.png").unlink()
        indexd(bare_home, "scan")
        dry = indexd(bare_home, "forget", "--dry-run")
        assert dry.stdout.splitlines() == [
            str(new / "portraits" / "2.png"),
            "1 files and 1 images would be forgotten",
        ]
        assert indexd(bare_home, "forget").returncode == 2  # nobody could answer the question
        assert indexd(bare_home, "forget", "--yes").returncode == 0
        wait_settled(daemon, 2)
        # The same bytes come back, and with them what was said.
        painting(new / "back.png", 12, "number 2")
        wait_settled(daemon, 3)
        assert shown(bare_home, new / "back.png")["rating"] == 5
