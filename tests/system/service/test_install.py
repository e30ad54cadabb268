"""Install and uninstall: repeatable, shown first on request, and never over somebody else's hand."""

from __future__ import annotations

import os
import plistlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.errors import IndexdError, SettingsError, UsageError
from indexd.service import manager_detection as choosing
from indexd.service.installer import Installer, file_ownership, with_signature
from indexd.service.launchd import LABEL, Launchd
from indexd.service.log_tail import tail_log
from indexd.service.manager_detection import detect_service
from indexd.service.service_spec import ServiceManager, ServiceSpec, build_service_spec
from indexd.service.systemd import DROP_IN, Systemd


class Host:
    """The commands of the system: heard, and answered as told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.answers: dict[str, tuple[int, str]] = {}

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        self.heard.append(line)
        code, said = next((answer for start, answer in self.answers.items() if line.startswith(start)), (0, ""))
        return subprocess.CompletedProcess(command, code, said, said if code else "")


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def order(tmp_path: Path) -> ServiceSpec:
    return ServiceSpec(
        ("/opt/venv/bin/python", "-m", "indexd", "run"), "alice", (tmp_path / "data",), (tmp_path / "out",)
    )


@pytest.fixture
def said() -> list[str]:
    return []


def managers(host: Host, folder: Path) -> list[tuple[ServiceManager, list[Path]]]:
    """Every manager that writes files, with the files."""
    return [
        (Systemd("user", "alice", host, folder), [folder / "indexd.service", folder / "indexd.service.d" / DROP_IN]),
        (
            Systemd("system", "alice", host, folder),
            [folder / "indexd@.service", folder / "indexd@alice.service.d" / DROP_IN],
        ),
        (Launchd("user", "alice", host, folder, 501, folder), [folder / f"{LABEL}.plist"]),
    ]


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("which", [0, 1, 2])
def test_installed_again_and_taken_away(
    which: int, host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]
) -> None:
    folder = tmp_path / "units"
    manager, files = managers(host, folder)[which]
    manager.install(order, Installer(said.append, run=host), now=True)
    assert files_of(folder) == set(files)
    assert (tmp_path / "data").is_dir()
    assert not (tmp_path / "out").exists()
    before = {file: file.stat().st_mtime_ns for file in files}
    said.clear()
    manager.install(order, Installer(said.append, run=host), now=False)
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert manager.status(order).current
    (files[-1].parent / "yours.conf").write_text("of the user")
    manager.uninstall(Installer(said.append, run=host))
    assert files_of(folder) == {files[-1].parent / "yours.conf"}
    said.clear()
    manager.uninstall(Installer(said.append, run=host))
    assert "nothing to do" in said[0]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_shown_only(which: int, host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "units"
    manager, files = managers(host, folder)[which]
    manager.install(order, Installer(said.append, run=host, dry_run=True), now=True)
    assert not folder.exists()
    assert not (tmp_path / "data").exists()
    assert not [line for line in host.heard if "show" not in line]
    text = "\n".join(said)
    for file in files:
        assert f"would write {file}" in text
    assert "/opt/venv/bin/python" in text


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_was_changed_by_hand_is_left_and_set_aside_on_request(
    which: int, host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]
) -> None:
    manager, files = managers(host, tmp_path / "units")[which]
    manager.install(order, Installer(said.append, run=host), now=False)
    mine = files[0].read_text().replace("60", "61")
    files[0].write_text(mine)
    assert file_ownership(files[0]) == "edited"
    with pytest.raises(IndexdError, match="was edited and stays unchanged"):
        manager.install(order, Installer(said.append, run=host), now=False)
    assert not manager.status(order).current
    assert "edited" in manager.status(order).detail
    manager.uninstall(Installer(said.append, run=host))
    assert files[0].read_text() == mine
    manager.install(order, Installer(said.append, run=host, replace=True), now=False)
    assert file_ownership(files[0]) == "ours"
    assert files[0].with_name(f"{files[0].name}.yours-1").read_text() == mine


def test_a_foreign_unit_is_never_ours_to_take(host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]) -> None:
    unit = tmp_path / "indexd.service"
    unit.write_text("[Service]\nExecStart=/usr/bin/true\n")
    manager = Systemd("user", "alice", host, tmp_path)
    with pytest.raises(IndexdError, match="was not written by"):
        manager.install(order, Installer(said.append, run=host), now=False)
    manager.uninstall(Installer(said.append, run=host, replace=True))
    assert unit.exists()


def test_a_newer_program_or_new_folders_bring_the_drop_in_up_to_date(
    host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]
) -> None:
    manager = Systemd("system", "alice", host, tmp_path)
    manager.install(order, Installer(said.append, run=host), now=False)
    moved = ServiceSpec(order.program, "alice", order.own_folders, (*order.writable_folders, Path("/mnt/new disk")))
    assert "older than this indexd or its settings" in manager.status(moved).detail
    manager.install(moved, Installer(said.append, run=host), now=False)
    assert 'ReadWritePaths="-/mnt/new disk"\n' in (tmp_path / "indexd@alice.service.d" / DROP_IN).read_text()


def test_a_folder_that_was_named_once_stays(host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]) -> None:
    manager = Systemd("system", "alice", host, tmp_path)
    named = ServiceSpec(
        order.program, "alice", order.own_folders, order.writable_folders, extra_writable_folders=(Path("/mnt/one"),)
    )
    manager.install(named, Installer(said.append, run=host), now=False)
    assert manager.status(order).current
    named = ServiceSpec(
        order.program, "alice", order.own_folders, order.writable_folders, extra_writable_folders=(Path("/mnt/two"),)
    )
    manager.install(named, Installer(said.append, run=host), now=False)
    text = (tmp_path / "indexd@alice.service.d" / DROP_IN).read_text()
    assert "ReadWritePaths=-/mnt/one\nReadWritePaths=-/mnt/two\n" in text


def test_the_template_stays_while_another_user_has_it(
    host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]
) -> None:
    for user in ("alice", "bob"):
        Systemd("system", user, host, tmp_path).install(order, Installer(said.append, run=host), now=False)
    Systemd("system", "alice", host, tmp_path).uninstall(Installer(said.append, run=host))
    assert (tmp_path / "indexd@.service").exists()
    Systemd("system", "bob", host, tmp_path).uninstall(Installer(said.append, run=host))
    assert list(tmp_path.rglob("*.service*")) == []


def test_root_does_not_run_it(host: Host, tmp_path: Path, said: list[str]) -> None:
    order = ServiceSpec(("/usr/bin/python3", "-m", "indexd", "run"), "root")
    for manager in (Systemd("system", "root", host, tmp_path), Launchd("system", "root", host, tmp_path, 0, tmp_path)):
        with pytest.raises(IndexdError, match="does not run as root"):
            manager.install(order, Installer(said.append, run=host), now=False)


def test_a_command_that_fails_is_told_with_what_it_said(
    host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]
) -> None:
    host.answers["systemctl --user daemon-reload"] = (1, "Failed to connect to bus")
    manager = Systemd("user", "alice", host, tmp_path)
    with pytest.raises(
        IndexdError, match=r"daemon-reload` failed: Failed to connect to bus; this user has no .* --system"
    ):
        manager.install(order, Installer(said.append, run=host), now=False)
    manager.uninstall(Installer(said.append, run=host))
    assert files_of(tmp_path) == set()


def test_start_and_stop_need_an_installed_unit(host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]) -> None:
    manager = Systemd("user", "alice", host, tmp_path)
    with pytest.raises(IndexdError, match="indexd service install"):
        manager.start(Installer(said.append, run=host))
    manager.install(order, Installer(said.append, run=host), now=False)
    manager.start(Installer(said.append, run=host))
    manager.stop(Installer(said.append, run=host))
    assert host.heard[-2:] == ["systemctl --user start indexd.service", "systemctl --user stop indexd.service"]


def test_how_it_stands_tells_the_line_of_the_daemon(
    host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]
) -> None:
    manager = Systemd("user", "alice", host, tmp_path)
    assert not manager.status(order).installed
    manager.install(order, Installer(said.append, run=host), now=False)
    host.answers["systemctl --user show"] = (0, "ActiveState=active\nStatusText=watching 2 folders\nNRestarts=3\n")
    found = manager.status(order)
    assert (found.installed, found.current, found.running) == (True, True, True)
    assert found.detail == "indexd.service is active; watching 2 folders; restarted 3 times"
    assert manager.logs(order, 7, True)[-3:] == ["--lines", "7", "--follow"]


def test_the_property_list(host: Host, order: ServiceSpec, tmp_path: Path, said: list[str]) -> None:
    manager = Launchd("system", "alice", host, tmp_path, 0, tmp_path)
    manager.install(order, Installer(said.append, run=host), now=True)
    content = plistlib.loads((tmp_path / f"{LABEL}.plist").read_bytes())
    assert content["ProgramArguments"][:4] == list(order.program)
    assert content["ProgramArguments"][-1] == "--end-when-stuck"
    assert content["UserName"] == "alice"
    assert content["KeepAlive"] == {"SuccessfulExit": False}
    assert host.heard[-1] == f"launchctl bootstrap system {tmp_path / LABEL}.plist"
    host.answers["launchctl print"] = (0, "state = running")
    assert manager.status(order).running
    assert manager.logs(order, 5, False) == tmp_path / "Library/Logs/indexd.log"


def test_a_checksum_is_of_everything_but_itself(tmp_path: Path) -> None:
    file = tmp_path / "unit"
    file.write_text(with_signature("a\nb"))
    assert file_ownership(file) == "ours"
    file.write_text(file.read_text() + "c\n")
    assert file_ownership(file) == "edited"
    file.write_text("a\nb\n")
    assert file_ownership(file) == "foreign"


def test_the_folders_of_the_settings_are_what_may_be_written(tmp_path: Path) -> None:
    config = read_config(
        tmp_path, {"roots": [{"path": "/mnt/a"}, {"path": "/mnt/a/inner"}], "backup": {"folder": "/mnt/nas"}}
    )
    order = build_service_spec(config, tmp_path, extra_writable=[Path("/mnt/jobs")])
    assert order.writable_folders == (Path("/mnt/a"), Path("/mnt/nas"), tmp_path)
    assert order.extra_writable_folders == (Path("/mnt/jobs"),)
    assert order.program[-3:] == ("--home", str(tmp_path), "run")


@pytest.mark.parametrize(("scope", "user"), [("user", "bob"), ("task", None), ("system", "no such user")])
def test_what_cannot_be_meant(scope: str, user: str | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        detect_service(scope, tmp_path, user=user, platform="linux")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may install for another user")
def test_for_another_user_his_places_count(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no user database")
    monkeypatch.delenv("INDEXD_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/root/data")
    chosen = detect_service("system", None, user="nobody", platform="linux")
    import pwd

    entry = pwd.getpwnam("nobody")
    assert chosen.owner == (entry.pw_uid, entry.pw_gid)
    assert all(folder.is_relative_to(entry.pw_dir) for folder in chosen.spec.own_folders)
    assert os.environ["XDG_DATA_HOME"] == "/root/data"


def test_broken_settings_keep_nobody_from_stopping_it(tmp_path: Path) -> None:
    (tmp_path / "indexd.toml").write_text("[watch")
    with pytest.raises(SettingsError):
        detect_service("user", tmp_path, platform="linux")
    assert detect_service("user", tmp_path, need_settings=False, platform="linux").spec.program[-1] == "run"


def test_each_system_has_its_managers(tmp_path: Path) -> None:
    kinds = {
        ("linux", "user"): "Systemd",
        ("darwin", "user"): "Launchd",
        ("win32", "user"): "WindowsTask",
        ("win32", "task"): "WindowsTask",
        ("win32", "system"): "WindowsService",
    }
    for (platform, scope), name in kinds.items():
        assert type(choosing.detect_service(scope, tmp_path, platform=platform).manager).__name__ == name


def test_the_end_of_a_log_file_and_what_follows_across_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "indexd.log"
    file.write_text("".join(f"line {number}\n" for number in range(9)))
    heard: list[str] = []
    steps = iter(["added", "rotated", "over"])

    class Over(Exception):
        pass

    def sleep(_seconds: float) -> None:
        step = next(steps)
        if step == "added":
            with file.open("a") as stream:
                stream.write("added\n")
        elif step == "rotated":
            file.rename(tmp_path / "indexd.log.1")
            file.write_text("new\n")
        else:
            raise Over

    with pytest.raises(Over):
        tail_log(file, 2, follow=True, echo=heard.append, sleep=sleep)
    assert heard == ["line 7", "line 8", "added", "new"]
    with pytest.raises(IndexdError, match="did the daemon run"):
        tail_log(tmp_path / "none", 2, follow=False, echo=heard.append)
