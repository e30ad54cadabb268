"""Service manager of Windows, by pywin32: delayed start, restart after a crash, a chosen account.

The command is this interpreter with `run --windows-service` instead of the host of pywin32, so that a virtual environment
needs no registration. See "ChangeServiceConfig2" in the documentation of the Windows API.
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
DESCRIPTION = "Indexes and renders images of diffusion models. Written by `indexd service install`."
# Delay of the first, the second and each later restart. The count starts again after RESET_SECONDS without a crash.
RESTART_AFTER_MS = (5_000, 30_000, 120_000)
RESET_SECONDS = 86_400
STOP_WAIT_SECONDS = 60
ERROR_ACCESS_DENIED = 5
ERROR_SERVICE_DOES_NOT_EXIST = 1060
ERROR_SERVICE_NOT_ACTIVE = 1062


def _pywin32(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise IndexdError(
            "a Windows service needs pywin32: pip install pywin32; or use the Task Scheduler: --task"
        ) from None


def _ask_password(account: str) -> str:
    import click

    password: str = click.prompt(f"password of {account}", hide_input=True)
    return password


class WindowsService:
    """`load` imports a module of pywin32 by its name."""

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
        """See ServiceManager. Updates a registered service; raises IndexdError for a foreign one of that name."""
        for text in mapped_drive_warnings(
            [str(path) for path in (*spec.own_folders, *spec.writable_folders)], self._share_of
        ):
            installer.report(text)
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
        found = self._query()
        if found is None:
            installer.report(f"there is no service {SERVICE_NAME}; nothing to do")
            return
        if not found.is_ours:
            raise IndexdError(
                f"the service {SERVICE_NAME} was not installed by `indexd service install`; it stays unchanged"
            )
        if found.running:
            self.stop(installer)
        installer.run_action(f"remove the service {SERVICE_NAME}", self._delete)

    def start(self, installer: Installer) -> None:
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
        found = self._query()
        if found is None:
            return InstallationStatus(False, False, False, f"there is no service {SERVICE_NAME}")
        current = found.command == _service_command(spec)
        parts = [f"the service {SERVICE_NAME} {'runs' if found.running else 'does not run'}"]
        if not found.is_ours:
            parts.append("it was not installed by `indexd service install`")
        elif not current:
            parts.append(f"it was registered for another program: {found.command}")
        return InstallationStatus(True, current and found.is_ours, found.running, "; ".join(parts))

    def logs(self, spec: ServiceSpec, _lines: int, _follow: bool) -> Path:
        return required_log_file(spec)

    def _register(self, command: str, account: str) -> None:
        api = self._load("win32service")
        found = self._query()
        if found is not None and not found.is_ours:
            raise IndexdError(
                f"there is another service {SERVICE_NAME}, not installed by `indexd service install`; it stays unchanged"
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
                # None keeps account and password, so that an update does not ask for the password.
                api.ChangeServiceConfig(service, kind, begin, errors, command, None, 0, None, None, None, TITLE)
            try:
                self._set_description_and_recovery(api, service)
            finally:
                api.CloseServiceHandle(service)
        finally:
            api.CloseServiceHandle(manager)

    def _set_description_and_recovery(self, api: Any, service: Any) -> None:
        api.ChangeServiceConfig2(service, api.SERVICE_CONFIG_DESCRIPTION, DESCRIPTION)
        # Start after the programs that people wait for at login.
        api.ChangeServiceConfig2(service, api.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True)
        actions = {
            "ResetPeriod": RESET_SECONDS,
            "RebootMsg": "",
            "Command": "",
            "Actions": [(api.SC_ACTION_RESTART, delay) for delay in RESTART_AFTER_MS],
        }
        api.ChangeServiceConfig2(service, api.SERVICE_CONFIG_FAILURE_ACTIONS, actions)
        # Restart also after an exit with an error, not only after a crash.
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
                raise IndexdError(f"the service {SERVICE_NAME} cannot be queried: {error.strerror}") from None
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
        """Run a call of pywin32 and convert its errors into IndexdError."""
        errors = self._load("pywintypes")
        try:
            return call()
        except errors.error as error:
            if error.winerror == ERROR_SERVICE_NOT_ACTIVE:
                return None
            if error.winerror == ERROR_SERVICE_DOES_NOT_EXIST:
                raise IndexdError(
                    f"there is no service {SERVICE_NAME}; run `indexd service install --system`"
                ) from None
            if error.winerror == ERROR_ACCESS_DENIED:
                raise UsageError(
                    "a Windows service needs a prompt with administrator rights; use --task without them"
                ) from None
            raise IndexdError(f"Windows reports: {error.strerror}") from None


class _RegisteredService:
    """The registered service."""

    def __init__(self, command: str, is_ours: bool, running: bool) -> None:
        self.command = command
        self.is_ours = is_ours
        self.running = running


def required_log_file(spec: ServiceSpec) -> Path:
    """The log file; raises IndexdError without one, because Windows has no journal."""
    if spec.log_file is None:
        raise IndexdError("no log file is set; set [log] file")
    return spec.log_file


def _service_command(spec: ServiceSpec) -> str:
    return subprocess.list2cmdline([*spec.program, "--windows-service"])
