"""Both units in a real systemd that was booted for them: started, fed, killed, frozen, reloaded, walled in, uninstalled.

Needs root and a Debian or Ubuntu tree with Python 3.11 in it, which is not made here because that takes the network:

    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3 bookworm /var/tmp/booted
    INDEXD_BOOT_TREE=/var/tmp/booted pytest tests/system/service/test_booted.py
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

if sys.platform != "linux":
    pytest.skip("systemd runs on Linux", allow_module_level=True)

TREE = os.environ.get("INDEXD_BOOT_TREE", "")
UNIT = "indexd@alice.service"

pytestmark = [
    pytest.mark.skipif(not TREE, reason="INDEXD_BOOT_TREE names no tree to boot (see the head of this file)"),
    pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can boot a systemd"),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="there is no systemd-nspawn here"),
]


class Booted:
    """A booted tree; commands run in it as root, or as alice."""

    def __init__(self, leader: int) -> None:
        self._enter = ["nsenter", "--target", str(leader), *["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]]

    def run(self, *command: str, check: bool = True) -> str:
        """What the command said. Fails the test when it fails, unless not `check`."""
        done = subprocess.run([*self._enter, "env", "-C", "/", *command], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def indexd(self, *arguments: str) -> str:
        """indexd as root."""
        return self.run("python3", "-m", "indexd", *arguments)

    def alice(self, *command: str, check: bool = True) -> str:
        """A command as alice, without a session of hers."""
        return self.run("runuser", "-u", "alice", "--", *command, check=check)

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.run("systemctl", "show", UNIT, f"--property={name}", "--value").strip()

    def until(self, what: str, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for it."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what}: {self.run('journalctl', '--no-pager', '-n', '30', '-u', UNIT)}"
            time.sleep(0.2)

    def until_restarted(self, before: str) -> None:
        """Wait until another process than that one is ready."""

        def again() -> bool:
            # Asked in this order: while the manager has not heard of the end, it is active still.
            return self.show("MainPID") not in ("0", before) and self.show("ActiveState") == "active"

        self.until("a new start", again)


@pytest.fixture(scope="module")
def booted() -> Iterator[Booted]:
    packages = Path(TREE, "usr/lib/python3/dist-packages")
    (packages / "indexd-test.pth").write_text("/repo\n/repo/handlers\n/repo/schemas\n/site\n")
    process = subprocess.Popen(
        ["systemd-nspawn", "--quiet", "--directory", TREE, "--register=no", "--keep-unit", "--boot", "--console=pipe",
         f"--bind-ro={REPOSITORY}:/repo", f"--bind-ro={sysconfig.get_path('purelib')}:/site", "--private-network"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + 60
    while True:
        leaders = children.read_text().split() if process.poll() is None else []
        if leaders:
            booted = Booted(int(leaders[0]))
            said = booted.run("systemctl", "is-system-running", check=False).strip()
            if said in ("running", "degraded"):
                break
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.skip(f"systemd did not boot here: {process.communicate()[1].decode()[-300:]}")
        time.sleep(0.3)
    booted.run("sh", "-c", "id alice || useradd --create-home alice")
    if f"{sys.version_info[0]}.{sys.version_info[1]}" not in booted.run("python3", "--version"):
        pytest.skip("the tree has another Python than these packages were installed for")
    booted.run("rm", "-rf", "/home/alice/.local", "/home/alice/.cache", "/home/alice/.config", "/home/alice/out")
    yield booted
    booted.indexd("service", "uninstall", "--system", "--run-as", "alice", "--replace")
    booted.run("systemctl", "poweroff", check=False)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def installed(booted: Booted) -> Booted:
    booted.alice("mkdir", "-p", "/home/alice/.config/indexd", "/home/alice/out")
    booted.alice(
        "sh", "-c", "printf '[[roots]]\\npath = \"/home/alice/out\"\\n' > /home/alice/.config/indexd/indexd.toml"
    )
    booted.indexd("service", "install", "--system", "--run-as", "alice", "--now")
    return booted


def test_it_starts_says_how_it_stands_and_answers_its_user(installed: Booted) -> None:
    assert installed.show("ActiveState") == "active"
    installed.until("its line", lambda: installed.show("StatusText").startswith("watching 3 folders"))
    status = installed.alice("python3", "-m", "indexd", "status", "--json")
    assert f'"pid": {installed.show("MainPID")}' in status
    journal = installed.run("journalctl", "-u", UNIT, "-o", "json", "--no-pager")
    assert '"PRIORITY":"6"' in journal


def test_installing_again_changes_nothing(installed: Booted) -> None:
    said = installed.indexd("service", "install", "--system", "--run-as", "alice")
    assert said.count("unchanged:") == 2
    assert "written:" not in said


def test_our_own_commands_tell_stop_and_start_it(installed: Booted) -> None:
    whose = ("--system", "--run-as", "alice")
    assert f"{UNIT} is active; watching 3 folders" in installed.indexd("service", "status", *whose)
    assert "process_lifecycle: ready: /home/alice/" in installed.indexd("service", "logs", *whose, "-n", "20")
    installed.indexd("service", "stop", *whose)
    assert installed.show("ActiveState") == "inactive"
    assert installed.show("Result") == "success"
    installed.indexd("service", "start", *whose)
    assert installed.show("ActiveState") == "active"


def test_killed_it_is_there_again(installed: Booted) -> None:
    before = installed.show("MainPID")
    installed.run("systemctl", "kill", "--signal=KILL", UNIT)
    installed.until_restarted(before)


def test_a_start_that_fails_is_tried_until_its_cause_is_cured(installed: Booted) -> None:
    settings = "/home/alice/.config/indexd/indexd.toml"
    quick = f"/run/systemd/system/{UNIT}.d"
    installed.run("sh", "-c", f"mkdir -p {quick}; printf '[Service]\\nRestartSec=100ms\\n' > {quick}/99-quick.conf")
    installed.run("systemctl", "daemon-reload")
    installed.alice("sh", "-c", f"cp {settings} {settings}.good; echo '[watch' >> {settings}")
    installed.run("systemctl", "restart", UNIT, check=False)
    installed.until("seven tries", lambda: int(installed.show("NRestarts")) >= 7)
    assert "indexd: cannot read the settings" in installed.run("journalctl", "-u", UNIT, "--no-pager")
    installed.alice("mv", f"{settings}.good", settings)
    installed.until("a start", lambda: installed.show("ActiveState") == "active")
    installed.run("rm", "-r", quick)
    installed.run("systemctl", "daemon-reload")


def test_a_reload_is_seen_by_the_manager_and_broken_settings_change_nothing(installed: Booted) -> None:
    before = installed.show("MainPID")
    settings = "/home/alice/.config/indexd/indexd.toml"
    installed.alice("cp", settings, f"{settings}.good")
    installed.alice("sh", "-c", f"echo '[watch' >> {settings}")
    installed.run("systemctl", "reload", UNIT)
    installed.until(
        "a word", lambda: "the old ones stay in force" in installed.run("journalctl", "-u", UNIT, "--no-pager")
    )
    installed.alice("mv", f"{settings}.good", settings)
    assert (installed.show("ActiveState"), installed.show("MainPID")) == ("active", before)


def inside(booted: Booted, script: str) -> str:
    """What a Python script says that runs as the unit would: same user, same walls."""
    booted.run("sh", "-c", "sed -e '/^WatchdogSec/d' -e '/^Restart/d' -e 's/^Type=notify/Type=oneshot/' "
               "/etc/systemd/system/indexd@.service > /run/systemd/system/probe@.service")  # fmt: skip
    booted.run("mkdir", "-p", "/run/systemd/system/probe@alice.service.d")
    booted.run("sh", "-c", f"cat > /tmp/probe.py <<'END'\n{script}\nEND\nmv /tmp/probe.py /opt/probe.py")
    booted.run("sh", "-c", f"(grep -v ExecStart /etc/systemd/system/{UNIT}.d/50-indexd.conf;"
               " printf 'ExecStart=\\nExecStart=/usr/bin/python3 /opt/probe.py\\nEnvironment=OMP_NUM_THREADS=1\\n')"
               " > /run/systemd/system/probe@alice.service.d/run.conf")  # fmt: skip
    booted.run("systemctl", "daemon-reload")
    booted.run("systemctl", "start", "probe@alice.service", check=False)
    return booted.run("journalctl", "-u", "probe@alice.service", "--no-pager", "-o", "cat")


def test_torch_computes_within_the_walls(installed: Booted) -> None:
    said = inside(installed, "import torch; print('sum', float((torch.ones(64, 64) @ torch.ones(64, 64)).sum()))")
    assert "sum 262144.0" in said


def test_it_may_write_where_the_settings_say_and_nowhere_else(installed: Booted) -> None:
    script = """
import os, socket
for folder in ("/home/alice/out", "/home/alice/.local/share/indexd", "/home/alice", "/var/lib", "/etc"):
    try:
        open(folder + "/probe", "w").close()
        os.unlink(folder + "/probe")
        print("may", folder)
    except OSError as error:
        print("may not", folder)
print("tmp", os.listdir("/tmp"))
"""
    said = inside(installed, script)
    assert "may /home/alice/out\n" in said
    assert "may /home/alice/.local/share/indexd\n" in said
    for folder in ("/home/alice\n", "/var/lib\n", "/etc\n"):
        assert f"may not {folder}" in said
    assert "tmp []" in said


def test_frozen_it_is_killed_by_the_watchdog_and_there_again(installed: Booted) -> None:
    folder = f"/run/systemd/system/{UNIT}.d"
    installed.run("sh", "-c", f"mkdir -p {folder}; printf '[Service]\\nWatchdogSec=2\\n' > {folder}/99-quick.conf")
    installed.run("systemctl", "daemon-reload")
    installed.run("systemctl", "restart", UNIT)
    before = installed.show("MainPID")
    time.sleep(4)
    assert installed.show("MainPID") == before, "it is fed while all is well"
    installed.run("systemctl", "kill", "--signal=STOP", UNIT)
    installed.until_restarted(before)
    assert "Watchdog timeout" in installed.run("journalctl", "-u", UNIT, "--no-pager")
    installed.run("rm", "-r", folder)
    installed.run("systemctl", "daemon-reload")


def test_uninstalled_nothing_of_it_is_left_but_what_is_the_users(installed: Booted) -> None:
    override = f"/etc/systemd/system/{UNIT}.d/override.conf"
    installed.run("sh", "-c", f"printf '[Service]\\nNice=1\\n' > {override}")
    said = installed.indexd("service", "uninstall", "--system", "--run-as", "alice")
    assert said.count("removed:") == 2
    assert (
        installed.run("sh", "-c", "find /etc/systemd -name '*indexd*' -type f; cat " + override)
        == "[Service]\nNice=1\n"
    )
    assert installed.run("systemctl", "is-active", UNIT, check=False).strip() in ("inactive", "unknown")
    assert installed.alice("ls", "/home/alice/.local/share/indexd/index.db").strip().endswith("index.db")
    installed.run("rm", "-r", f"/etc/systemd/system/{UNIT}.d")


def test_the_first_steps_of_the_readme_with_the_unit_of_a_user(booted: Booted) -> None:
    booted.run("sh", "-c", "userdel --remove carol; useradd --create-home carol")
    # What pam_systemd sets; the tree may be without it.
    booted.run("sh", "-c", "mkdir -p /run/systemd/system/user@.service.d; printf '[Service]\\nEnvironment="
               "XDG_RUNTIME_DIR=/run/user/%%i\\n' > /run/systemd/system/user@.service.d/runtime.conf")  # fmt: skip
    booted.run("systemctl", "daemon-reload")
    booted.run("loginctl", "enable-linger", "carol")
    user = booted.run("id", "-u", "carol").strip()
    there = f"XDG_RUNTIME_DIR=/run/user/{user}"
    booted.until("the manager of the user", lambda: f"user@{user}.service" in booted.run(
        "systemctl", "list-units", "--state=active", "--plain", f"user@{user}.service"))  # fmt: skip

    def carol(*command: str, check: bool = True) -> str:
        return booted.run("runuser", "-u", "carol", "--", "env", "HOME=/home/carol", there, *command, check=check)

    def indexd(*arguments: str, check: bool = True) -> str:
        return carol("python3", "-m", "indexd", *arguments, check=check)

    assert "there is no indexd.service" in indexd("service", "status", check=False)
    indexd("init")
    said = indexd("service", "install", "--now")
    assert "enable-linger" not in said, "it lingers already"
    assert "indexd.service is active; watching" in indexd("service", "status")
    assert "process_lifecycle: ready: /home/carol/" in indexd("service", "logs", "-n", "20")
    before = carol("systemctl", "--user", "show", "indexd", "--property=MainPID", "--value").strip()
    assert f'"pid": {before}' in indexd("status", "--json")
    found = indexd("doctor", check=False)
    assert "OK       service: indexd.service is active" in found
    assert "FAILED" not in found
    carol("systemctl", "--user", "kill", "--signal=KILL", "indexd")
    booted.until("a new start", lambda: "is active; watching" in indexd("service", "status", check=False)
                 and f'"pid": {before}' not in indexd("status", "--json", check=False))  # fmt: skip
    indexd("service", "stop")
    assert "does not run" in indexd("service", "status", check=False) or "inactive" in indexd(
        "service", "status", check=False
    )
    indexd("service", "start")
    indexd("service", "uninstall")
    assert "there is no indexd.service" in indexd("service", "status", check=False)
    assert booted.run("find", "/home/carol/.config", "-path", "*systemd*", "-type", "f") == ""
    assert carol("ls", "/home/carol/.local/share/indexd/index.db").strip().endswith("index.db")
    booted.run("loginctl", "disable-linger", "carol")
