"""`indexd service` from the command line, with a systemctl of our own on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Indexd

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="systemd is of Linux; the others have tests of their own"
)

SYSTEMCTL = """#!/bin/sh
echo "$*" >> {log}
case "$*" in *show*) echo ActiveState={state}; echo "StatusText=watching 2 folders";; esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a host: `units`, and `heard`, the calls of systemctl."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("systemctl", "journalctl"):
        program = tmp_path / name
        program.write_text(SYSTEMCTL.format(log=tmp_path / "heard", state="active"))
        program.chmod(0o755)
    return tmp_path


def test_from_nothing_to_nothing(indexd: Indexd, host: Path, home: Path) -> None:
    unit = host / "config" / "systemd" / "user" / "indexd.service"
    shown = indexd("service", "install", "--dry-run", "--now")
    assert shown.code == 0
    assert f"would write {unit}" in shown.out
    assert not unit.exists()
    assert not (host / "heard").exists()
    installed = indexd("service", "install", "--now")
    assert installed.code == 0, installed.err
    assert (
        f"ExecStart={sys.executable} -m indexd --home {home} run"
        in (unit.parent / "indexd.service.d" / "50-indexd.conf").read_text()
    )
    assert (host / "heard").read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable indexd.service",
        "--user restart indexd.service",
    ]
    status = indexd("service", "status", "--json")
    assert (status.code, status.json["installed"], status.json["current"]) == (0, True, True)
    assert "watching 2 folders" in indexd("service", "status").out
    assert indexd("service", "stop").code == indexd("service", "start").code == 0
    assert indexd("service", "logs", "-n", "3").code == 0
    assert (host / "heard").read_text().splitlines()[-1] == "--user --user-unit indexd.service --lines 3 --no-pager"
    (home / "indexd.toml").write_text("[broken")
    assert indexd("service", "uninstall").code == 0
    assert not unit.exists()
    assert not (unit.parent / "indexd.service.d").exists()


def test_not_installed_is_exit_code_3_and_start_says_what_to_do(indexd: Indexd, host: Path) -> None:
    assert indexd("service", "status").code == 3
    started = indexd("service", "start")
    assert started.code == 1
    assert "indexd service install" in started.err


def test_a_unit_that_was_changed_by_hand_is_left(indexd: Indexd, host: Path) -> None:
    assert indexd("service", "install").code == 0
    unit = host / "config" / "systemd" / "user" / "indexd.service"
    unit.write_text(unit.read_text().replace("Nice=5", "Nice=9"))
    again = indexd("service", "install")
    assert again.code == 1
    assert "was edited and stays unchanged" in again.err
    assert "Nice=9" in unit.read_text()


@pytest.mark.parametrize("arguments", [("--task",), ("--run-as", "alice"), ("--system", "--run-as", "nobody at all")])
def test_what_cannot_be_meant_is_a_usage_error(indexd: Indexd, host: Path, arguments: tuple[str, ...]) -> None:
    assert indexd("service", "install", *arguments).code == 2


def test_doctor_fix_says_what_it_did(indexd: Indexd, host: Path, home: Path) -> None:
    (home / "output").mkdir()
    left = home / "output" / ".indexd-00ff00ff-3.part"
    left.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    assert "→ `indexd doctor --fix` removes them" in indexd("doctor").out
    assert left.exists()
    assert "fixed: removed 1" in indexd("doctor", "--fix").out
    assert not left.exists()
