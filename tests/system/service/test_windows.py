"""Windows, against a pywin32 and a schtasks of our own: what is registered, what a stop does, what is left alone."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from indexd.errors import IndexdError, UsageError
from indexd.service.installer import Installer
from indexd.service.service_spec import ServiceSpec
from indexd.service.windows_drives import mapped_drive_paths, mapped_drive_warnings
from indexd.service.windows_host import host_service
from indexd.service.windows_service import DESCRIPTION, RESTART_AFTER_MS, WindowsService
from indexd.service.windows_task import WindowsTask, task_xml


class Refusal(Exception):
    """pywintypes.error."""

    def __init__(self, winerror: int, strerror: str = "refused") -> None:
        super().__init__(winerror, strerror)
        self.winerror = winerror
        self.strerror = strerror


class Windows:
    """A service control manager with one machine's services, in the words of pywin32."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str | int, Any]] = {}
        self.open_handles = 0
        self.may = True
        self.reported: list[tuple[int, dict[str, Any]]] = []
        self.hosted: type | None = None
        numbers = (
            "SC_MANAGER_ALL_ACCESS SC_MANAGER_CONNECT SERVICE_ALL_ACCESS SERVICE_QUERY_CONFIG SERVICE_QUERY_STATUS"
            " SERVICE_WIN32_OWN_PROCESS SERVICE_AUTO_START SERVICE_ERROR_NORMAL SERVICE_CONFIG_DESCRIPTION"
            " SERVICE_CONFIG_DELAYED_AUTO_START_INFO SERVICE_CONFIG_FAILURE_ACTIONS SERVICE_CONFIG_FAILURE_ACTIONS_FLAG"
            " SC_ACTION_RESTART SERVICE_RUNNING SERVICE_STOPPED SERVICE_STOP_PENDING SERVICE_ACCEPT_SHUTDOWN"
            " SERVICE_ACCEPT_PARAMCHANGE SERVICE_CONTROL_PARAMCHANGE SERVICE_ACCEPT_STOP"
        )
        self.api = SimpleNamespace(**{name: 1 << at for at, name in enumerate(numbers.split())})
        for name in [
            "OpenSCManager",
            "CreateService",
            "OpenService",
            "ChangeServiceConfig",
            "ChangeServiceConfig2",
            "CloseServiceHandle",
            "DeleteService",
            "QueryServiceConfig",
            "QueryServiceConfig2",
            "QueryServiceStatus",
        ]:
            setattr(self.api, name, getattr(self, name))

    def load(self, name: str) -> Any:
        windows = self

        class ServiceFramework:
            def __init__(self, arguments: Any) -> None:
                self.arguments = arguments

            def GetAcceptedControls(self) -> int:  # noqa: N802
                accepted: int = windows.api.SERVICE_ACCEPT_STOP
                return accepted

            def ReportServiceStatus(self, state: int, **more: Any) -> None:  # noqa: N802
                windows.reported.append((state, more))

        return {
            "win32service": self.api,
            "pywintypes": SimpleNamespace(error=Refusal),
            "win32serviceutil": SimpleNamespace(
                StartService=lambda name: self._state(name, self.api.SERVICE_RUNNING),
                StopService=lambda name: self._state(name, self.api.SERVICE_STOPPED),
                WaitForServiceStatus=lambda name, state, seconds: None,
                ServiceFramework=ServiceFramework,
            ),
            "servicemanager": SimpleNamespace(
                Initialize=lambda: None,
                PrepareToHostSingle=lambda kind: setattr(self, "hosted", kind),
                StartServiceCtrlDispatcher=lambda: None,
            ),
        }[name]

    def _state(self, name: str, state: int) -> None:
        if name not in self.services:
            raise Refusal(1060)
        self.services[name]["state"] = state

    def OpenSCManager(self, _machine: None, _database: None, access: int) -> object:  # noqa: N802
        if access == self.api.SC_MANAGER_ALL_ACCESS and not self.may:
            raise Refusal(5, "Access is denied.")
        self.open_handles += 1
        return self

    def CreateService(  # noqa: N802
        self, _manager: object, name: str, title: str, _access: int, kind: int, begin: int, _errors: int, command: str,
        _group: None, _tag: int, _needs: None, account: str, password: str,
    ) -> str:  # fmt: skip
        self.services[name] = {"title": title, "begin": begin, "command": command, "account": account,
                               "password": password, "state": self.api.SERVICE_STOPPED}  # fmt: skip
        self.open_handles += 1
        return name

    def OpenService(self, _manager: object, name: str, _access: int) -> str:  # noqa: N802
        if name not in self.services:
            raise Refusal(1060)
        self.open_handles += 1
        return name

    def ChangeServiceConfig(self, name: str, _kind: int, begin: int, _errors: int, command: str, *more: Any) -> None:  # noqa: N802
        self.services[name].update(begin=begin, command=command)
        if more[3] is not None:
            self.services[name]["account"] = more[3]

    def ChangeServiceConfig2(self, name: str, what: int, value: Any) -> None:  # noqa: N802
        self.services[name][what] = value

    def CloseServiceHandle(self, _handle: object) -> None:  # noqa: N802
        self.open_handles -= 1

    def DeleteService(self, name: str) -> None:  # noqa: N802
        del self.services[name]

    def QueryServiceConfig(self, name: str) -> tuple[Any, ...]:  # noqa: N802
        return (0, 0, 0, self.services[name]["command"])

    def QueryServiceConfig2(self, name: str, what: int) -> Any:  # noqa: N802
        return self.services[name].get(what)

    def QueryServiceStatus(self, name: str) -> tuple[int, int]:  # noqa: N802
        return (0, self.services[name]["state"])


@pytest.fixture
def windows() -> Windows:
    return Windows()


@pytest.fixture
def manager(windows: Windows) -> WindowsService:
    return WindowsService(windows.load, {"Z:": "\\\\nas\\pictures"}.get, lambda account: f"secret of {account}")


@pytest.fixture
def order(tmp_path: Path) -> ServiceSpec:
    program = ("C:\\Program Files\\indexd\\Scripts\\python.exe", "-m", "indexd", "--home", "D:\\ixd", "run")
    return ServiceSpec(program, "alice", (tmp_path / "data",), (), tmp_path / "data" / "indexd.log")


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_service_is_registered_with_delayed_start_and_recovery(
    windows: Windows, manager: WindowsService, order: ServiceSpec, said: list[str]
) -> None:
    manager.install(order, Installer(said.append), now=True)
    service, api = windows.services["indexd"], windows.api
    assert service["command"] == (
        '"C:\\Program Files\\indexd\\Scripts\\python.exe" -m indexd --home D:\\ixd run --windows-service'
    )
    assert (service["account"], service["password"]) == (".\\alice", "secret of .\\alice")
    assert service[api.SERVICE_CONFIG_DELAYED_AUTO_START_INFO] is True
    assert service[api.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG] is True
    actions = service[api.SERVICE_CONFIG_FAILURE_ACTIONS]["Actions"]
    assert actions == [(api.SC_ACTION_RESTART, delay) for delay in RESTART_AFTER_MS]
    assert service["state"] == api.SERVICE_RUNNING
    assert windows.open_handles == 0
    assert manager.status(order).current
    assert "secret" not in "\n".join(said)


def test_registered_again_it_keeps_its_account_and_asks_no_password(
    windows: Windows, order: ServiceSpec, said: list[str]
) -> None:
    asked: list[str] = []

    def ask(account: str) -> str:
        asked.append(account)
        return "x"

    manager = WindowsService(windows.load, lambda _drive: None, ask)
    manager.install(order, Installer(said.append), now=False)
    moved = ServiceSpec(("E:\\new\\python.exe", "-m", "indexd", "run"), "alice")
    assert not manager.status(moved).current
    manager.install(moved, Installer(said.append), now=False)
    assert asked == [".\\alice"]
    assert windows.services["indexd"]["account"] == ".\\alice"
    assert windows.services["indexd"]["command"] == "E:\\new\\python.exe -m indexd run --windows-service"


def test_somebody_elses_service_of_that_name_is_left_alone(
    windows: Windows, manager: WindowsService, order: ServiceSpec, said: list[str]
) -> None:
    windows.services["indexd"] = {"command": "other.exe", "state": windows.api.SERVICE_RUNNING}
    before = dict(windows.services["indexd"])
    with pytest.raises(IndexdError, match="stays unchanged"):
        manager.install(order, Installer(said.append), now=False)
    with pytest.raises(IndexdError, match="stays unchanged"):
        manager.uninstall(Installer(said.append))
    assert windows.services["indexd"] == before
    assert windows.open_handles == 0


def test_it_is_stopped_before_it_is_removed_and_removing_nothing_is_fine(
    windows: Windows, manager: WindowsService, order: ServiceSpec, said: list[str]
) -> None:
    manager.install(order, Installer(said.append), now=True)
    manager.uninstall(Installer(said.append))
    assert windows.services == {}
    assert said[-2:] == ["done: stop the service indexd", "done: remove the service indexd"]
    manager.uninstall(Installer(said.append))
    assert "nothing to do" in said[-1]
    with pytest.raises(IndexdError, match="there is no service"):
        manager.start(Installer(said.append))


def test_without_rights_the_task_is_named(
    windows: Windows, manager: WindowsService, order: ServiceSpec, said: list[str]
) -> None:
    windows.may = False
    with pytest.raises(UsageError, match="--task"):
        manager.install(order, Installer(said.append), now=False)
    assert windows.services == {}


def test_shown_only(windows: Windows, manager: WindowsService, order: ServiceSpec, said: list[str]) -> None:
    manager.install(order, Installer(said.append, dry_run=True), now=True)
    assert windows.services == {}
    assert any("would register the service indexd as .\\alice" in line for line in said)


def test_without_pywin32_the_way_out_is_named(order: ServiceSpec, said: list[str]) -> None:
    with pytest.raises(IndexdError, match="pip install pywin32"):
        WindowsService().install(order, Installer(said.append), now=False)


def test_a_mapped_drive_is_named_with_its_share() -> None:
    shares = {"Z:": "\\\\nas\\pictures"}.get
    assert mapped_drive_paths(["z:\\ai\\out", "C:\\x", "\\\\nas\\pictures\\y", "Z:"], shares) == [
        ("z:\\ai\\out", "\\\\nas\\pictures\\ai\\out"),
        ("Z:", "\\\\nas\\pictures\\"),
    ]
    (sentence,) = mapped_drive_warnings(["z:/ai"], shares)
    assert "write \\\\nas\\pictures\\ai in the settings" in sentence


class Served:
    """The daemon as the host calls it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = threading.Event()
        self.reloads = 0
        self.error = error

    def serve(self) -> None:
        if self.error is not None:
            raise self.error
        assert self.asked.wait(10)

    def reload(self) -> None:
        self.reloads += 1


def hosted(windows: Windows, served: Served) -> Any:
    host_service(served.serve, served.asked.set, served.reload, windows.load)
    assert windows.hosted is not None
    return windows.hosted(["indexd"])


def test_a_stop_of_the_manager_is_the_daemons_drain(windows: Windows) -> None:
    served = Served()
    service = hosted(windows, served)
    run = threading.Thread(target=service.SvcDoRun)
    run.start()
    assert service.GetAcceptedControls() & windows.api.SERVICE_ACCEPT_SHUTDOWN
    service.SvcOtherEx(windows.api.SERVICE_CONTROL_PARAMCHANGE, 0, None)
    service.SvcOtherEx(12345, 0, None)
    service.SvcStop()
    run.join(10)
    assert not run.is_alive()
    assert served.reloads == 1
    states = [state for state, _ in windows.reported]
    assert states[0] == windows.api.SERVICE_RUNNING
    assert windows.api.SERVICE_STOP_PENDING in states


def test_a_daemon_that_breaks_is_told_as_an_error_so_that_recovery_starts_it_again(windows: Windows) -> None:
    with pytest.raises(SystemExit):
        hosted(windows, Served(IndexdError("the index is locked"))).SvcDoRun()
    state, more = windows.reported[-1]
    assert state == windows.api.SERVICE_STOPPED
    assert more["svcExitCode"] == 1


class Scheduler:
    """schtasks: keeps the entry as Windows does, with more in it than was written."""

    def __init__(self) -> None:
        self.entry: str | None = None
        self.heard: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.heard.append(list(command))
        code, said = 0, ""
        if "/Create" in command:
            text = Path(command[command.index("/XML") + 1]).read_text("utf-16")
            self.entry = text.replace("<RegistrationInfo>", "<RegistrationInfo>\n    <URI>\\indexd</URI>")
        elif self.entry is None:
            code, said = 1, "ERROR: The system cannot find the file specified."
        elif "/XML" in command:
            said = self.entry
        elif "/Delete" in command:
            self.entry = None
        return subprocess.CompletedProcess(command, code, said, said)


def test_the_task_runs_without_a_window_for_ever_and_is_started_again(order: ServiceSpec) -> None:
    text = task_xml(order)
    assert "<Command>C:\\Program Files\\indexd\\Scripts\\pythonw.exe</Command>" in text
    assert "<Arguments>-m indexd --home D:\\ixd run --end-when-stuck</Arguments>" in text
    for wanted in ("<ExecutionTimeLimit>PT0S<", "<RunLevel>LeastPrivilege<", "<MultipleInstancesPolicy>IgnoreNew<"):
        assert wanted in text
    assert "&amp;" in task_xml(ServiceSpec(("C:\\a&b\\python.exe", "run"), "alice"))


def test_the_task_is_written_once_updated_and_removed(order: ServiceSpec, said: list[str]) -> None:
    scheduler = Scheduler()
    manager = WindowsTask(scheduler)
    hands = Installer(said.append, run=scheduler)
    assert not manager.status(order).installed
    manager.install(order, hands, now=True)
    assert scheduler.heard[-1][:2] == ["schtasks", "/Run"]
    assert manager.status(order).current
    said.clear()
    manager.install(order, hands, now=False)
    assert said == ["unchanged: the task indexd"]
    moved = ServiceSpec(("E:\\python.exe", "-m", "indexd", "run"), "alice", (), (), order.log_file)
    manager.install(moved, hands, now=False)
    assert "E:\\pythonw.exe" in (scheduler.entry or "")
    manager.uninstall(hands)
    assert scheduler.entry is None
    manager.uninstall(hands)
    assert "nothing to do" in said[-1]
    assert manager.logs(order, 5, False) == order.log_file


def test_a_task_that_was_changed_by_hand_or_is_anothers_is_left(order: ServiceSpec, said: list[str]) -> None:
    scheduler = Scheduler()
    manager, hands = WindowsTask(scheduler), Installer(said.append, run=scheduler)
    manager.install(order, hands, now=False)
    assert scheduler.entry is not None
    scheduler.entry = scheduler.entry.replace("PT30S", "PT5M")
    with pytest.raises(IndexdError, match="was edited"):
        manager.install(order, hands, now=False)
    manager.install(order, Installer(said.append, run=scheduler, replace=True), now=False)
    assert "PT30S" in scheduler.entry
    scheduler.entry = scheduler.entry.replace(DESCRIPTION, "another")
    for act in (partial(manager.install, order, hands, now=False), partial(manager.uninstall, hands)):
        with pytest.raises(IndexdError, match="stays unchanged"):
            act()
