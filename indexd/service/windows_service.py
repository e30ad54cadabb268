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
from indexd.service.hands import Hands
from indexd.service.order import NAME, Installed, Order
from indexd.service.windows_paths import ShareOf, share_of_drive, warnings

TITLE = "indexd"
DESCRIPTION = "Indexes the pictures of your diffusion models and makes new ones. Written by `indexd service install`."
# Milliseconds before the first, the second and every later new start; the count begins anew after a day without one.
RESTART_AFTER_MS = (5_000, 30_000, 120_000)
RESET_SECONDS = 86_400
STOP_WAIT_SECONDS = 60
NOT_INSTALLED = 1060  # ERROR_SERVICE_DOES_NOT_EXIST
NOT_ACTIVE = 1062  # ERROR_SERVICE_NOT_ACTIVE


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
        share_of: ShareOf = share_of_drive,
        ask_password: Callable[[str], str] = _ask_password,
    ) -> None:
        self._load = load
        self._share_of = share_of
        self._ask_password = ask_password

    def install(self, order: Order, hands: Hands, *, now: bool) -> None:
        """See ServiceManager. A service that is there is brought up to date; somebody else's of that name is left."""
        for sentence in warnings([str(path) for path in (*order.own, *order.writable)], self._share_of):
            hands.tell(sentence)
        for folder in order.own:
            hands.make(folder)
        account = order.user if "\\" in order.user or "@" in order.user else f".\\{order.user}"
        command = _command(order)
        hands.do(f"register the service {NAME} as {account}: {command}", lambda: self._register(command, account))
        if now:
            self.start(hands)

    def uninstall(self, hands: Hands) -> None:
        """See ServiceManager."""
        found = self._query()
        if found is None:
            hands.tell(f"there is no service {NAME}; nothing to do")
            return
        if not found.ours:
            raise IndexdError(f"the service {NAME} was not made by `indexd service install`; it is left as it is")
        if found.running:
            self.stop(hands)
        hands.do(f"remove the service {NAME}", self._delete)

    def start(self, hands: Hands) -> None:
        """See ServiceManager."""
        utilities = self._load("win32serviceutil")
        hands.do(f"start the service {NAME}", lambda: self._sentence(lambda: utilities.StartService(NAME)))

    def stop(self, hands: Hands) -> None:
        """See ServiceManager. Waits for the drain."""
        utilities = self._load("win32serviceutil")

        def stop() -> None:
            utilities.StopService(NAME)
            utilities.WaitForServiceStatus(NAME, self._load("win32service").SERVICE_STOPPED, STOP_WAIT_SECONDS)

        hands.do(f"stop the service {NAME}", lambda: self._sentence(stop))

    def standing(self, order: Order) -> Installed:
        """See ServiceManager."""
        found = self._query()
        if found is None:
            return Installed(False, False, False, f"there is no service {NAME}")
        current = found.command == _command(order)
        words = [f"the service {NAME} {'runs' if found.running else 'does not run'}"]
        if not found.ours:
            words.append("it was not made by `indexd service install`")
        elif not current:
            words.append(f"it was registered for another program: {found.command}")
        return Installed(True, current and found.ours, found.running, "; ".join(words))

    def logs(self, order: Order, _lines: int, _follow: bool) -> Path:
        """See ServiceManager."""
        return log_file(order)

    def _register(self, command: str, account: str) -> None:
        api = self._load("win32service")
        found = self._query()
        if found is not None and not found.ours:
            raise IndexdError(
                f"there is another service {NAME}, not made by `indexd service install`; it is left as it is"
            )
        manager = self._sentence(lambda: api.OpenSCManager(None, None, api.SC_MANAGER_ALL_ACCESS))
        try:
            kind, begin, errors = api.SERVICE_WIN32_OWN_PROCESS, api.SERVICE_AUTO_START, api.SERVICE_ERROR_NORMAL
            if found is None:
                password = self._ask_password(account)
                service = self._sentence(
                    lambda: api.CreateService(
                        manager, NAME, TITLE, api.SERVICE_ALL_ACCESS, kind, begin, errors, command, None, 0, None, account,
                        password,
                    )
                )  # fmt: skip
            else:
                service = api.OpenService(manager, NAME, api.SERVICE_ALL_ACCESS)
                # None leaves account and password as they are: an update needs no password again.
                api.ChangeServiceConfig(service, kind, begin, errors, command, None, 0, None, None, None, TITLE)
            try:
                self._describe(api, service)
            finally:
                api.CloseServiceHandle(service)
        finally:
            api.CloseServiceHandle(manager)

    def _describe(self, api: Any, service: Any) -> None:
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
        manager = self._sentence(lambda: api.OpenSCManager(None, None, api.SC_MANAGER_ALL_ACCESS))
        try:
            service = api.OpenService(manager, NAME, api.SERVICE_ALL_ACCESS)
            try:
                api.DeleteService(service)
            finally:
                api.CloseServiceHandle(service)
        finally:
            api.CloseServiceHandle(manager)

    def _query(self) -> _Found | None:
        api, errors = self._load("win32service"), self._load("pywintypes")
        manager = api.OpenSCManager(None, None, api.SC_MANAGER_CONNECT)
        try:
            try:
                service = api.OpenService(manager, NAME, api.SERVICE_QUERY_CONFIG | api.SERVICE_QUERY_STATUS)
            except errors.error as error:
                if error.winerror == NOT_INSTALLED:
                    return None
                raise IndexdError(f"the service {NAME} cannot be looked at: {error.strerror}") from None
            try:
                command = api.QueryServiceConfig(service)[3]
                text = api.QueryServiceConfig2(service, api.SERVICE_CONFIG_DESCRIPTION)
                running = api.QueryServiceStatus(service)[1] == api.SERVICE_RUNNING
            finally:
                api.CloseServiceHandle(service)
        finally:
            api.CloseServiceHandle(manager)
        return _Found(command, text == DESCRIPTION, running)

    def _sentence(self, call: Callable[[], Any]) -> Any:
        """The call; what Windows refuses as a sentence of ours."""
        errors = self._load("pywintypes")
        try:
            return call()
        except errors.error as error:
            if error.winerror == NOT_ACTIVE:
                return None
            if error.winerror == NOT_INSTALLED:
                raise IndexdError(f"there is no service {NAME}; `indexd service install --system` makes it") from None
            if error.winerror == 5:  # ERROR_ACCESS_DENIED
                raise UsageError(
                    "a service of Windows needs a prompt with administrator rights; without them: --task"
                ) from None
            raise IndexdError(f"Windows refused: {error.strerror}") from None


class _Found:
    """The service as the system has it."""

    def __init__(self, command: str, ours: bool, running: bool) -> None:
        self.command = command
        self.ours = ours
        self.running = running


def log_file(order: Order) -> Path:
    """Where the log is; on Windows there always is one."""
    if order.log is None:
        raise IndexdError("no log file is set; name one: [log] file")
    return order.log


def _command(order: Order) -> str:
    return subprocess.list2cmdline([*order.program, "--windows-service"])
