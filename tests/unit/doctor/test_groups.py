"""Each group of `doctor` on a real home with the real trouble in it, and what `--fix` does and leaves."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from indexd.config import Config, read_config
from indexd.doctor import clock, daemon, data_folders, gpu, leftovers, models, service, watched_folders
from indexd.doctor.finding import DoctorFinding
from indexd.doctor.groups import GROUPS, run_checks
from indexd.doctor.inbox import check_inbox
from indexd.errors import StoreError
from indexd.service.installer import Installer
from indexd.service.service_spec import build_service_spec
from indexd.service.systemd import Systemd
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.output import DoctorCheck
from tests.support.model_files import SDXL_CHECKPOINT, write_model
from tests.unit.cli.conftest import home as home


@pytest.fixture
def config(home: Path) -> Config:
    return read_config(home)


def by_name(found: Iterator[DoctorFinding]) -> dict[str, DoctorFinding]:
    return {one.check.name: one for one in found}


def checks(home: Path, *, fix: bool = False) -> dict[str, DoctorCheck]:
    return {check.name: check for check in run_checks(home, fix=fix)}


def test_every_file_of_the_room_has_its_line_in_the_table() -> None:
    room = Path(sys.modules["indexd.doctor.groups"].__file__ or "").parent
    files = {file.stem for file in room.glob("*.py")} - {"__init__", "finding", "groups"}
    assert {group.__module__.rpartition(".")[2] for group in GROUPS.values()} == files


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_an_open_socket_is_found_and_closed(home: Path, config: Config) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no Unix sockets")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(config.paths.socket))
    config.paths.socket.chmod(0o666)
    assert checks(home)["api access"].state == "failed"
    assert config.paths.socket.stat().st_mode & 0o777 == 0o666, "nothing is changed without --fix"
    fixed = checks(home, fix=True)["api access"]
    assert (fixed.state, fixed.fixed, fixed.advice) == ("ok", True, None)
    assert config.paths.socket.stat().st_mode & 0o777 == 0o600
    assert checks(home)["api access"].state == "ok"
    listener.close()


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_token_that_others_can_read_and_a_folder_that_others_can_write(home: Path) -> None:
    tcp = read_config(home, {"api": {"listen": "tcp"}})
    tcp.paths.token.write_text("{}")
    tcp.paths.token.chmod(0o644)
    (finding,) = daemon.check_api_access(tcp)
    assert finding.check.state == "failed"
    assert finding.fix is not None
    finding.fix()
    assert tcp.paths.token.stat().st_mode & 0o777 == 0o600
    home.chmod(0o777)
    (finding,) = daemon.check_api_access(tcp)
    assert "other users can write" in finding.check.detail
    assert finding.fix is not None
    finding.fix()
    assert home.stat().st_mode & 0o777 == 0o755


def test_a_fix_that_fails_is_told_and_the_finding_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot() -> str:
        raise PermissionError(1, "not yours")

    def look(_config: Config) -> Iterator[DoctorFinding]:
        yield DoctorFinding(DoctorCheck(name="x", state="failed", detail="bad", advice="do it"), cannot)

    monkeypatch.setitem(GROUPS, "clock", look)
    found = checks(home, fix=True)["x"]
    assert found.state == "failed"
    assert "the fix failed" in found.detail


def old(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (1e9, 1e9))
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this file system")
def test_what_is_named_like_a_job_and_is_no_file_is_told(home: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    inbox = home / "inbox"
    inbox.mkdir(exist_ok=True)
    (inbox / "job.yaml").write_text("kind: txt2img\n")
    (inbox / "notes").mkdir()
    assert checks(home)["job files"].state == "ok"
    (inbox / "linked.yaml").symlink_to(inbox / "job.yaml")
    (inbox / "folder.yml").mkdir()
    os.mkfifo(inbox / "pipe.YAML")
    told = checks(home)["job files"]
    assert told.state == "warning"
    assert "folder.yml is a folder, " in told.detail
    assert "linked.yaml is a link, " in told.detail
    assert told.detail.endswith("pipe.YAML is a pipe: only regular files are read as jobs")


def test_only_old_unfinished_files_of_ours_are_removed(home: Path, tmp_path: Path) -> None:
    (home / "indexd.toml").write_text(f"[[roots]]\npath = '{tmp_path}'\n")
    ours = [
        old(home / "output" / "deep" / ".indexd-0a1b2c3d-17.part"),
        old(tmp_path / ".indexd-0a1b2c3d-18.part"),
        old(home / "inbox" / "accepted" / ".job12.part"),
        old(home / "backups" / "index-20260101T000000Z.db.part"),
        old(home / "index.db.v1.bak.part"),
        old(home / ".api-token.4711.tmp"),
        old(home / "cache" / "thumbnails" / "ab" / f"{'ab' * 32}.part"),
    ]
    young = home / "output" / ".indexd-0a1b2c3d-19.part"
    young.write_bytes(b"in the making")
    yours = [
        old(home / "output" / "holiday.part"),
        old(tmp_path / "download.part"),
        old(home / "inbox" / "mine.yaml.part"),
        old(home / "backups" / "notes.part"),
    ]
    assert checks(home)["leftovers"].detail.startswith("7 temporary files")
    assert checks(home, fix=True)["leftovers"].detail.endswith("fixed: removed 7")
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in (*yours, young))


def test_a_folder_of_ours_that_is_gone_is_made_but_not_on_a_disk_that_is_away(home: Path) -> None:
    away = read_config(home, {"paths": {"output": str(home / "disk" / "output")}})
    SqliteStore.open(away.paths.index).close()
    found = by_name(data_folders.check_data_folders(away))
    assert found["output"].fix is None
    inbox = found["inbox"]
    assert inbox.check.state == "warning"
    assert inbox.fix is not None
    inbox.fix()
    assert away.paths.inbox.is_dir()
    assert not (home / "disk").exists()


def test_room_on_the_disk(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folders, "MIN_FREE_BYTES", 1 << 62)
    assert "MiB are free" in by_name(data_folders.check_data_folders(config))["output"].check.detail
    monkeypatch.setattr(data_folders, "MIN_FREE_BYTES", 0)
    monkeypatch.setattr(data_folders, "MIN_FREE_INODES", 1 << 62)
    if sys.platform != "win32" and os.statvfs(config.paths.home).f_files:
        assert "more files fit" in by_name(data_folders.check_data_folders(config))["output"].check.detail


def test_an_index_on_a_network_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folders, "network_filesystem", lambda _folder: "nfs4")
    found = by_name(data_folders.check_data_folders(config))["file system"].check
    assert (found.state, found.advice) == ("failed", "set [paths] index to a local disk")


def test_folders_are_counted_against_the_limit(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.paths.output.mkdir(parents=True)
    for number in range(30):
        (config.paths.output / str(number) / "inner").mkdir(parents=True)
    assert watched_folders.count_folders([bytes(config.paths.output)]) == (61, True)
    assert watched_folders.count_folders([bytes(config.paths.output)], 0.0)[1] is False
    monkeypatch.setattr(watched_folders, "INOTIFY_LIMITS", tmp_path)
    monkeypatch.setattr(watched_folders, "RESERVED_WATCHES", 0)
    (tmp_path / "max_user_instances").write_text("128\n")
    for limit, state in ((60, "warning"), (62, "ok")):
        (tmp_path / "max_user_watches").write_text(f"{limit}\n")
        assert by_name(watched_folders.check_watch_limits(config))["watch limits"].check.state == state
    (tmp_path / "max_user_instances").write_text("8\n")
    assert "max_user_instances" in (
        by_name(watched_folders.check_watch_limits(config))["watch limits"].check.advice or ""
    )


def test_a_share_is_said_to_be_polled(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from indexd.fs.mounts import Mount

    monkeypatch.setattr(watched_folders, "find_mount", lambda _path: Mount("cifs", is_remote=True))
    for mode, state in (("auto", "ok"), ("native", "warning")):
        config = read_config(home, {"roots": [{"path": str(tmp_path), "mode": mode}]})
        found = by_name(watched_folders.check_watched_folders(config))["folder"].check
        assert found.state == state
        assert "cifs" in found.detail


def safetensors(file: Path, *, cut: int = 0) -> Path:
    head = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "__metadata__": {}}).encode()
    content = struct.pack("<Q", len(head)) + head + bytes(16)
    file.write_bytes(content[: len(content) - cut])
    return file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<html>not found</html>", "is a web page"),
        (struct.pack("<Q", 5) + b"[1,2]", "is no model file"),
        (struct.pack("<Q", 5) + b"{1,2}", "is damaged"),
    ],
)
def test_a_model_that_is_none(home: Path, tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    config = read_config(home, {"models": {"clip_h": {"path": str(file)}}})
    found = by_name(models.check_models(config))["model clip_h"].check
    assert (found.state, said in found.detail) == ("failed", True)


def test_a_download_that_broke_off(home: Path, tmp_path: Path) -> None:
    cut = safetensors(tmp_path / "cut.safetensors", cut=7)
    config = read_config(home, {"models": {"clip_h": {"path": str(cut)}}})
    found = by_name(models.check_models(config))["model clip_h"].check
    size = cut.stat().st_size
    assert (found.state, found.detail) == (
        "failed",
        f"{cut} is cut off: {size} of {size + 7} bytes are there; copy the file again",
    )
    config = read_config(home, {"models": {"clip_h": {"path": str(tmp_path)}}})
    found = by_name(models.check_models(config))["model clip_h"].check
    assert f"{tmp_path} has a file cut.safetensors that is cut off" in found.detail


def test_files_that_jobs_cannot_use_are_named(home: Path, tmp_path: Path) -> None:
    folder = {"generate": {"checkpoint_folders": [str(tmp_path / "m")], "lora_folders": [str(tmp_path / "l")]}}
    write_model(tmp_path / "m" / "dream.safetensors", SDXL_CHECKPOINT)
    assert by_name(models.check_model_files(read_config(home, folder)))["model files"].check.state == "ok"
    write_model(tmp_path / "l" / "dream.safetensors", SDXL_CHECKPOINT)
    told = by_name(models.check_model_files(read_config(home, folder)))["model files"].check
    assert (told.state, told.detail) == (
        "warning",
        "jobs cannot use 1 of 2: lora dream is a checkpoint of SDXL, not a LoRA; name it with `model:`",
    )


def test_the_detectors_of_faces_are_looked_at_too(home: Path, tmp_path: Path) -> None:
    detector = tmp_path / "eyes.pt"
    with zipfile.ZipFile(detector, "w") as archive:
        archive.writestr("eyes/data.pkl", bytes(1000))
    settings = {
        "models": {"clip_h": {"path": str(safetensors(tmp_path / "clip.safetensors"))}},
        "faces": {"detectors": [{"path": str(detector)}]},
    }
    assert by_name(models.check_models(read_config(home, settings)))["model faces"].check.state == "ok"
    detector.write_bytes(detector.read_bytes()[:-9])
    told = by_name(models.check_models(read_config(home, settings)))["model faces"].check
    assert (told.state, told.detail) == (
        "failed",
        f"{detector} is cut off: the end of its archive is missing; copy the file again",
    )


@pytest.mark.parametrize(
    ("torch", "wanted", "state", "said"),
    [
        ({"version": "2.15", "built_for": "12.8", "gpus": ["RTX"]}, [], "ok", "finds RTX"),
        ({"version": "2.15", "built_for": None, "gpus": []}, [], "warning", "CPU-only"),
        ({"version": "2.15", "built_for": None, "gpus": []}, ["generator"], "failed", "CPU-only"),
        ({"version": "2.15", "built_for": "13.0", "gpus": []}, ["generator"], "failed", "too old"),
    ],
)
def test_driver_and_torch_are_asked(torch: dict[str, object], wanted: list[str], state: str, said: str) -> None:
    def ask(command: Sequence[str], _seconds: float) -> str:
        return "RTX, 570.1, 24576 MiB, 512 MiB\n" if command[0] == "nvidia-smi" else f"noise\n{json.dumps(torch)}\n"

    found = by_name(gpu.check_driver(wanted, ask))
    assert found["driver"].check.detail == "RTX, 570.1, 24576 MiB, 512 MiB"
    assert found["gpu"].check.state == state
    assert said in found["gpu"].check.detail


@pytest.mark.starts_process
def test_a_driver_that_does_not_answer_and_a_torch_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = gpu.check_driver(
        [], lambda command, seconds: gpu._run_command((sys.executable, "-c", "raise SystemExit('no')"), 9)
    )
    assert found.check.state == "failed"
    assert "no" in found.check.detail
    with pytest.raises(OSError, match="did not respond"):
        gpu._run_command((sys.executable, "-c", "import time; time.sleep(9)"), 0.1)
    found = by_name(gpu.check_driver([], lambda command, seconds: "" if command[0] == "nvidia-smi" else "no json"))[
        "gpu"
    ]
    assert found.check.state == "warning"


def test_a_clock_behind_what_was_written(config: Config) -> None:
    SqliteStore.open(config.paths.index).close()
    written = config.paths.index.stat().st_mtime
    (found,) = clock.check_clock(config, written - 3600)
    assert found.check.state == "warning"
    assert "60 min ahead" in found.check.detail


@pytest.mark.skipif(sys.platform == "win32", reason="timedatectl is of systemd")
@pytest.mark.parametrize(("said", "state"), [("no", "warning"), ("yes", "ok"), ("", "ok")])
def test_a_clock_that_nobody_sets(
    said: str, state: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "timedatectl"
    program.write_text(f"#!/bin/sh\necho {said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (found,) = clock.check_clock(config)
    assert found.check.state == state


def test_a_unit_that_is_old_is_found(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("systemd is of Linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert by_name(service.check_service(config))["service"].check.detail.startswith("not installed")
    order = build_service_spec(config, config.paths.home)
    from tests.system.service.test_install import Host

    manager = Systemd("user", order.user, Host())
    manager.install(build_service_spec(config, tmp_path), Installer(lambda _line: None, run=Host()), now=False)
    monkeypatch.setattr(service, "available_managers", lambda _user: {"user": manager})
    found = by_name(service.check_service(config))["service"].check
    assert (found.state, found.advice) == ("warning", "update it: indexd service install --user")
    manager.install(order, Installer(lambda _line: None, run=Host()), now=False)
    assert by_name(service.check_service(config))["service"].check.state == "ok"
    monkeypatch.setattr(service, "available_managers", lambda _user: {"user": manager, "system": manager})
    assert "installed twice" in list(service.check_service(config))[-1].check.detail


def test_a_sample_of_the_index_is_compared_with_the_disk(home: Path) -> None:
    from tests.support.sample_library import make_library

    with SqliteStore.open(read_config(home).paths.index) as store:
        library = make_library(store, home / "pictures", images_per_subject=1)
        store.roots.set_state(library.root_id, online=True, identity=None, mode="poll", reason="")
    assert checks(home)["index files"].state == "ok"
    for name in library.ids:
        Path(library.path(name)).write_bytes(b"something else")
    assert checks(home)["index files"].state == "warning"


def test_an_index_of_a_newer_program(home: Path) -> None:
    with SqliteStore.open(read_config(home).paths.index):
        pass
    import apsw

    connection = apsw.Connection(str(read_config(home).paths.index))
    connection.pragma("user_version", 999)
    connection.close()
    found = checks(home)
    assert found["index"].state == "failed"
    assert "newer" in found["index"].detail


def test_a_check_that_breaks_hides_no_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(_config: Config) -> Iterator[DoctorFinding]:
        raise StoreError("odd")

    monkeypatch.setitem(GROUPS, "api access", look)
    found = checks(home)
    assert found["api access"].detail == "odd"
    assert "leftovers" in found


def test_a_daemon_that_does_not_run_is_a_warning(config: Config) -> None:
    assert by_name(daemon.check_daemon(config))["daemon"].check.state == "warning"
    assert by_name(leftovers.check_leftovers(config))["leftovers"].check.state == "ok"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_token_that_others_could_read_and_a_door_for_other_machines_are_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 40)
    (tmp_path / "token").chmod(0o644)
    api = {"listen": "tcp", "address": "0.0.0.0", "allow_remote": True, "token_file": str(tmp_path / "token")}
    found = [finding.check for finding in daemon.check_api_access(read_config(tmp_path, {"api": api}))]
    assert [(check.name, check.state) for check in found[:2]] == [("token", "failed"), ("api access", "warning")]
    assert "other users could read" in found[0].detail


def test_job_files_below_the_inbox_are_reported_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "indexd.toml").write_text("", "utf-8")
    config = read_config(tmp_path)
    inbox = config.paths.inbox
    for folder in ("june", "accepted", "done"):
        (inbox / folder).mkdir(parents=True)
        (inbox / folder / "job.yaml").write_text("kind: txt2img\n")
    [finding] = check_inbox(config)
    assert finding.check.state == "warning"
    assert finding.check.detail == f"{inbox / 'june' / 'job.yaml'}: job files in folders below the inbox are not read"
    assert finding.check.advice == f"move them into {inbox} itself"
