"""`models`: what is on, and the only download there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.model_roles import downloaded_model_folder
from tests.support.model_files import SDXL_CHECKPOINT, write_model
from tests.unit.cli.conftest import Indexd

HUB = '[models.bge]\nhub = "a/bge"\n[models.clip_l]\nhub = "a/sdxl"\n[models.clip_g]\nhub = "a/sdxl"\n'


class FakeHub:
    """Stands in for the hub's client: writes what was asked for, or fails half-way."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.failure: Exception | None = None
        self.files: tuple[str, ...] = ("config.json", "model.safetensors")

    def __call__(self, hub: str, *, local_dir: Path, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert "*.bin" in ignore_patterns
        self.asked.append((hub, tuple(allow_patterns)))
        Path(local_dir).mkdir(parents=True, exist_ok=True)
        for name in self.files:
            (Path(local_dir) / name).write_text("x")
            if self.failure is not None:
                raise self.failure
        return str(local_dir)


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    (home / "indexd.toml").write_text(HUB, "utf-8")
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake)
    return fake


def test_list_says_why_a_role_is_off(indexd: Indexd, hub: FakeHub, home: Path, tmp_path: Path) -> None:
    (home / "indexd.toml").write_text(f'{HUB}[models.clip_h]\npath = "{tmp_path.as_posix()}"\n', "utf-8")
    lines = {line.split()[0]: line for line in indexd("models", "list").out.splitlines()}
    assert "no model is set" in lines["generator"]
    assert "indexd models pull bge" in lines["bge"]
    assert lines["clip_h"].split()[1] == "on"
    document = indexd("models", "list", "--json").json
    assert document["schema_version"] == 1
    assert [role["on"] for role in document["roles"]] == [False, False, False, False, True, False]


def test_pull_brings_each_hub_model_once_and_whole(indexd: Indexd, hub: FakeHub, home: Path) -> None:
    pulled = indexd("models", "pull")
    assert pulled.code == 0
    assert [name for name, _ in hub.asked] == ["a/bge", "a/sdxl"]
    folders = [downloaded_model_folder(read_config(home), name) for name in ("a/bge", "a/sdxl")]
    assert pulled.out.splitlines() == [str(folder) for folder in folders]
    assert all((folder / "model.safetensors").exists() for folder in folders)
    assert [role["on"] for role in indexd("models", "list", "--json").json["roles"]] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert indexd("models", "pull").code == 0
    assert len(hub.asked) == 2


def test_what_two_roles_read_of_one_model_is_fetched_for_both(indexd: Indexd, hub: FakeHub, home: Path) -> None:
    (home / "indexd.toml").write_text(HUB + '[models.generator]\nhub = "a/sdxl"\n', "utf-8")
    indexd("models", "pull", "clip_l")
    assert [name for name, _ in hub.asked] == ["a/sdxl"]
    assert {"unet/*", "text_encoder/*"} <= set(hub.asked[0][1])


def test_a_broken_download_leaves_the_role_off_and_can_go_on(indexd: Indexd, hub: FakeHub) -> None:
    hub.failure = ConnectionError("no\nnetwork")
    broken = indexd("models", "pull", "bge")
    assert broken.code == 1
    assert "could not be downloaded: no network" in broken.err
    assert not indexd("models", "list", "--json").json["roles"][1]["on"]
    hub.failure = None
    assert indexd("models", "pull", "bge").code == 0
    assert indexd("models", "list", "--json").json["roles"][1]["on"]


def test_a_model_without_safe_weights_is_refused(indexd: Indexd, hub: FakeHub) -> None:
    hub.files = ("config.json",)
    assert "no .safetensors weights" in indexd("models", "pull", "bge").err
    assert not indexd("models", "list", "--json").json["roles"][1]["on"]


def test_pull_put_wrongly(indexd: Indexd, hub: FakeHub, home: Path) -> None:
    assert indexd("models", "pull", "generator").code == 2
    assert indexd("models", "pull", "nose").code == 2
    (home / "indexd.toml").unlink()
    assert indexd("models", "pull").code == 0
    assert hub.asked == []


def test_verify_without_any_model(indexd: Indexd) -> None:
    assert "no role is on" in indexd("models", "verify").err
    off = indexd("models", "verify", "bge")
    assert off.code == 1
    assert "no model is set" in off.out


def test_list_tells_what_the_files_are(indexd: Indexd, home: Path) -> None:
    write_model(home / "m" / "dream.safetensors", SDXL_CHECKPOINT)
    (home / "m" / "page.safetensors").write_bytes(b"<html>")
    (home / "indexd.toml").write_text(f'[generate]\ncheckpoint_folders = ["{(home / "m").as_posix()}"]\n', "utf-8")
    lines = indexd("models", "list").out.splitlines()
    assert "checkpoint dream  SDXL checkpoint float16" in lines
    assert [line.partition(":")[0] for line in lines if "page" in line] == ["checkpoint page  UNUSABLE"]
    files = indexd("models", "list", "--json").json["files"]
    assert [(file["name"], bool(file["problem"])) for file in files] == [("dream", False), ("page", True)]
