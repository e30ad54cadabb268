"""The unit files: silent under `systemd-analyze verify`, a recorded score, the card in reach, a reason on every line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from indexd.service.installer import with_signature
from indexd.service.service_spec import ServiceSpec
from indexd.service.systemd import DROP_IN, UnitScope, drop_in_text, quote_unit_word, unit_text

UNITS = ("indexd.service", "indexd@.service")
# What `systemd-analyze security` says, times ten (0 = walled in, 100 = open). A unit without any walls has 95. The unit of
# the user does without namespaces (see its head), which is most of the difference.
SCORES = {"indexd.service": 63, "indexd@.service": 15}

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")


def written(folder: Path, name: str) -> Path:
    """The unit as install writes it, drop-in and all. Its path; an instance of a template gets a user that exists."""
    scope: UnitScope = "user" if name == "indexd.service" else "system"
    order = ServiceSpec(
        ("/usr/bin/env", "-m", "indexd", "--home", "/srv/a b%c"), "daemon", writable_folders=(folder / "a b%c",)
    )
    unit = folder / name.replace("@.", "@daemon.")
    # An instance whose template lies in the same folder is read from its own file by the checker.
    unit.write_text(with_signature(unit_text(name)).replace("ExecStart=indexd run", "ExecStart=/usr/bin/env run"))
    (folder / f"{unit.name}.d").mkdir()
    (folder / f"{unit.name}.d" / DROP_IN).write_text(drop_in_text(order, scope))
    return unit


@needs_analyze
@pytest.mark.parametrize("name", UNITS)
def test_verify_has_nothing_to_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    unit = written(tmp_path, name)
    scope = ["--user"] if name == "indexd.service" else []
    command = ["systemd-analyze", "verify", *scope, str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # It returns 0 for unknown keys too, so what it prints is what counts.
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@needs_analyze
def test_verify_would_speak(tmp_path: Path) -> None:
    unit = written(tmp_path, "indexd@.service")
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectClocks="))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "ProtectClocks" in done.stderr


@needs_analyze
@pytest.mark.parametrize("name", UNITS)
def test_the_score_is_the_recorded_one(name: str, tmp_path: Path) -> None:
    unit = written(tmp_path, name)

    def gate(threshold: int) -> int:
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", str(unit)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert gate(SCORES[name]) == 0
    assert gate(SCORES[name] - 3) != 0, "better than recorded: write the new score down"


@pytest.mark.parametrize("name", UNITS)
def test_the_card_and_torch_stay_in_reach(name: str) -> None:
    text = unit_text(name)
    settings = re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE)
    keys = {key for key, _ in settings}
    assert not keys & {"PrivateDevices", "MemoryDenyWriteExecute", "ProcSubset", "PrivateNetwork"}
    assert ("SystemCallErrorNumber", "EPERM") in settings
    if "DevicePolicy" in keys:
        assert ("DevicePolicy", "closed") in settings
        assert ("DeviceAllow", "char-nvidia* rw") in settings
    if name == "indexd@.service":
        assert "DevicePolicy" in keys


@pytest.mark.parametrize("name", UNITS)
def test_every_group_of_walls_has_a_reason(name: str) -> None:
    """Between NoNewPrivileges and the end no setting stands without a comment above it, or above others of its kind."""
    walls = unit_text(name).partition("NoNewPrivileges")[2].partition("[Install]")[0].splitlines()[1:]
    explained = True
    unexplained = []
    previous = ""
    for line in walls:
        if line.startswith("#"):
            explained = True
        elif line.strip():
            key = re.split(r"[A-Z][a-z]+=|=", line)[0][:7]
            if not explained and key != previous:
                unexplained.append(line)
            previous, explained = key, False
    assert unexplained == []


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/usr/bin/python3", "/usr/bin/python3"),
        ("/srv/my pictures", '"/srv/my pictures"'),
        ("/srv/100%", '"/srv/100%%"'),
        ('/srv/a"b\\c', '"/srv/a\\"b\\\\c"'),
        ("/srv/ö", '"/srv/ö"'),
    ],
)
def test_words_mean_themselves(word: str, written: str) -> None:
    assert quote_unit_word(word) == written


def test_a_variable_of_a_command_means_itself() -> None:
    assert quote_unit_word("/srv/$HOME", command=True) == '"/srv/$$HOME"'
    assert quote_unit_word("/srv/$HOME") == '"/srv/$HOME"'
