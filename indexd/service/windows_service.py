"""A service of Windows by way of pywin32: delayed start, started again when it dies, run by the account that is named.

The command is this interpreter with `run --windows-service`, not pywin32's own host: a virtual environment needs nothing
registered that way. See "ChangeServiceConfig2" in the documentation of the Windows API for the numbers.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from indexd.errors import IndexdError, UsageError
from indexd.service.installer import Installer
from indexd.service.service_spec import SERVICE_NAME, InstallationStatus, ServiceSpec
from indexd.service.windows_drives import ShareLookup, mapped_drive_warnings, share_of_drive

TITLE = "indexd"
DESCRIPTION = "Indexes the images of your diffusion models and renders new ones. Written by `indexd service install`."
# Milliseconds before the first, the second and every later new start; the count begins anew after a day without one.
RESTART_AFTER_MS = (5_000, 30_000, 120_000)
RESET_SECONDS = 86_400
STOP_WAIT_SECONDS = 60
ERROR_SERVICE_DOES_NOT_EXIST = 1060  # ERROR_SERVICE_DOES_NOT_EXIST
ERROR_SERVICE_NOT_ACTIVE = 1062  # ERROR_SERVICE_NOT_ACTIVE


def _pywin32(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise IndexdError(
            "a service of Windows needs pywin32: pip install pywin32; or use the Task Scheduler: --task"
        ) from None


def _ask_password(account: str) -> str:
    import click

    password: str = click.prompt(f"password of {account}", hide_input=True)
    return password


class WindowsService:
    """`load` gives a module of pywin32 by name."""

    def __init__(
        self,
        load: Callable[[str], Any] = _pywin32,
        share_of: ShareLookup = share_of_drive,
        ask_password: Callable[[str], str] = _ask_password,
    ) -> None:
        self._load = load
        self._share_of = share_of
        self._ask_password = ask_password

    def install(self, spec: ServiceSpec, installer: Installer, *, now: bool) -> None:
        """See ServiceManager. A service that is there is brought up to date; somebody else's of that name is left."""
        for sentence in mapped_drive_warnings(
            [str(path) for path in (*spec.own_folders, *spec.writable_folders)], self._share_of
        ):
            installer.report(sentence)
        for folder in spec.own_folders:
            installer.make_folder(folder)
        account = spec.user if "\\" in spec.user or "@" in spec.user else f".\\{spec.user}"
        command = _service_command(spec)
        installer.run_action(
            f"register the service {SERVICE_NAME} as {account}: {command}", lambda: self._register(command, account)
        )
        if now:
            self.start(installer)

    def uninstall(self, installer: Installer) -> None:
        """See ServiceManager."""
        found = self._query()
        if found is None:
            installer.report(f"there is no service {SERVICE_NAME}; nothing to do")
            return
        if not found.is_ours:
            raise IndexdError(
                f"the service {SERVICE_NAME} was not made by `indexd service install`; it is left as it is"
            )
        if found.running:
            self.stop(installer)
        installer.run_action(f"remove the service {SERVICE_NAME}", self._delete)

    def start(self, installer: Installer) -> None:
        """See ServiceManager."""
        utilities = self._load("win32serviceutil")
        installer.run_action(
            f"start the service {SERVICE_NAME}",
            lambda: self._translate_errors(lambda: utilities.StartService(SERVICE_NAME)),
        )

    def stop(self, installer: Installer) -> None:
        """See ServiceManager. Waits for the drain."""
        utilities = self._load("win32serviceutil")

        def stop() -> None:
            utilities.StopService(SERVICE_NAME)
            utilities.WaitForServiceStatus(SERVICE_NAME, self._load("win32service").SERVICE_STOPPED, STOP_WAIT_SECONDS)

        installer.run_action(f"stop the service {SERVICE_NAME}", lambda: self._translate_errors(stop))

    def status(self, spec: ServiceSpec) -> InstallationStatus:
        """See ServiceManager."""
        found = self._query()
        if found is None:
            return InstallationStatus(False, False, False, f"there is no service {SERVICE_NAME}")
        current = found.command == _service_command(spec)
        words = [f"the service {SERVICE_NAME} {'runs' if found.running else 'does not run'}"]
        if not found.is_ours:
            words.append("it was not made by `indexd service install`")
        elif not current:
            words.append(f"it was registered for another program: {found.command}")
        return InstallationStatus(True, current and found.is_ours, found.running, "; ".join(words))

    def logs(self, spec: ServiceSpec, _lines: int, _follow: bool) -> Path:
        """See ServiceManager."""
        return required_log_file(spec)

    def _register(self, command: str, account: str) -> None:
        api = self._load("win32service")
        found = self._query()
        if found is not None and not found.is_ours:
            raise IndexdError(
                f"there is another service {SERVICE_NAME}, not made by `indexd service install`; it is left as it is"
            )
        manager = self._translate_errors(lambda: api.OpenSCManager(None, None, api.SC_MANAGER_ALL_ACCESS))
        try:
            kind, begin, errors = api.SERVICE_WIN32_OWN_PROCESS, api.SERVICE_AUTO_START, api.SERVICE_ERROR_NORMAL
            if found is None:
                password = self._ask_password(account)
                service = self._translate_errors(
                    lambda: api.CreateService(
                        manager, SERVICE_NAME, TITLE, api.SERVICE_ALL_ACCESS, kind, begin, errors, command, None, 0, None, account,
                        password,
                    )
                )  # fmt: skip
            else:
                service = api.OpenService(manager, SERVICE_NAME, api.SERVICE_ALL_ACCESS)
                # None leaves account and password as they are: an update needs no password again.
                api.ChangeServiceConfig(service, kind, begin, errors, command, None, 0, None, None, None, TITLE)
            try:
                self._set_description_and_recovery(api, service)
            finally:
                api.CloseServiceHandle(service)
        finally:
            api.CloseServiceHandle(manager)

    def _set_description_and_recovery(self, api: Any, service: Any) -> None:
        api.ChangeServiceConfig2(service, api.SERVICE_CONFIG_DESCRIPTION, DESCRIPTION)
        # After the programs that a person waits for when the machine starts.
        api.ChangeServiceConfig2(service, api.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True)
        actions = {
            "ResetPeriod": RESET_SECONDS,
            "RebootMsg": "",
            "Command": "",
            "Actions": [(api.SC_ACTION_RESTART, delay) for delay in RESTART_AFTER_MS],
        }
        api.ChangeServiceConfig2(service, api.SERVICE_CONFIG_FAILURE_ACTIONS, actions)
        # Also when it ends by itself with an error, not only when it crashes.
        api.ChangeServiceConfig2(service, api.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True)

    def _delete(self) -> None:
        api = self._load("win32service")
        manager = self._translate_errors(lambda: api.OpenSCManager(None, None, api.SC_MANAGER_ALL_ACCESS))
        try:
            service = api.OpenService(manager, SERVICE_NAME, api.SERVICE_ALL_ACCESS)
            try:
                api.DeleteService(service)
            finally:
                api.CloseServiceHandle(service)
        finally:
            api.CloseServiceHandle(manager)

    def _query(self) -> _RegisteredService | None:
        api, errors = self._load("win32service"), self._load("pywintypes")
        manager = api.OpenSCManager(None, None, api.SC_MANAGER_CONNECT)
        try:
            try:
                service = api.OpenService(manager, SERVICE_NAME, api.SERVICE_QUERY_CONFIG | api.SERVICE_QUERY_STATUS)
            except errors.error as error:
                if error.winerror == ERROR_SERVICE_DOES_NOT_EXIST:
                    return None
                raise IndexdError(f"the service {SERVICE_NAME} cannot be looked at: {error.strerror}") from None
            try:
                command = api.QueryServiceConfig(service)[3]
                text = api.QueryServiceConfig2(service, api.SERVICE_CONFIG_DESCRIPTION)
                running = api.QueryServiceStatus(service)[1] == api.SERVICE_RUNNING
            finally:
                api.CloseServiceHandle(service)
        finally:
            api.CloseServiceHandle(manager)
        return _RegisteredService(command, text == DESCRIPTION, running)

    def _translate_errors(self, call: Callable[[], Any]) -> Any:
        """The call; what Windows refuses as a sentence of ours."""
        errors = self._load("pywintypes")
        try:
            return call()
        except errors.error as error:
            if error.winerror == ERROR_SERVICE_NOT_ACTIVE:
                return None
            if error.winerror == ERROR_SERVICE_DOES_NOT_EXIST:
                raise IndexdError(
                    f"there is no service {SERVICE_NAME}; `indexd service install --system` makes it"
                ) from None
            if error.winerror == 5:  # ERROR_ACCESS_DENIED
                raise UsageError(
                    "a service of Windows needs a prompt with administrator rights; without them: --task"
                ) from None
            raise IndexdError(f"Windows refused: {error.strerror}") from None


class _RegisteredService:
    """The service as the system has it."""

    def __init__(self, command: str, ours: bool, running: bool) -> None:
        self.command = command
        self.is_ours = ours
        self.running = running


def required_log_file(spec: ServiceSpec) -> Path:
    """Where the log is; on Windows there always is one."""
    if spec.log_file is None:
        raise IndexdError("no log file is set; name one: [log] file")
    return spec.log_file


def _service_command(spec: ServiceSpec) -> str:
    return subprocess.list2cmdline([*spec.program, "--windows-service"])
