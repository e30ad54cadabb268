"""Hosts the daemon as a Windows service: the service control manager starts, stops and reloads it."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from indexd.service.service_spec import SERVICE_NAME
from indexd.service.windows_service import STOP_WAIT_SECONDS

log = logging.getLogger(__name__)

# The interval of progress reports during a stop. Without them the manager assumes that the service hangs.
STOP_HINT_SECONDS = 5.0
EXIT_FAILED = 1


def host_service(
    serve: Callable[[], None],
    stop: Callable[[], None],
    reload: Callable[[], None],
    load: Callable[[str], Any] = importlib.import_module,
) -> None:
    """Connect this process to the service control manager; returns when the service has stopped."""
    manager = load("servicemanager")
    manager.Initialize()
    manager.PrepareToHostSingle(make_service_class(serve, stop, reload, load))
    manager.StartServiceCtrlDispatcher()


def make_service_class(
    serve: Callable[[], None], stop: Callable[[], None], reload: Callable[[], None], load: Callable[[str], Any]
) -> type:
    """The service class that pywin32 instantiates."""
    api, framework = load("win32service"), load("win32serviceutil").ServiceFramework

    class Service(framework):  # type: ignore[misc,valid-type]
        _svc_name_ = SERVICE_NAME

        def __init__(self, arguments: Any) -> None:
            framework.__init__(self, arguments)
            self._stopped = threading.Event()

        def GetAcceptedControls(self) -> int:  # noqa: N802 - the names are pywin32's
            """Add shutdown, and "parameters changed", which means reload."""
            accepted: int = framework.GetAcceptedControls(self)
            return accepted | int(api.SERVICE_ACCEPT_SHUTDOWN) | int(api.SERVICE_ACCEPT_PARAMCHANGE)

        def SvcStop(self) -> None:  # noqa: N802
            """Start the drain, which ends in SvcDoRun, and report progress to the manager until then."""
            stop()
            threading.Thread(target=self._hint, name="service-hint", daemon=True).start()

        SvcShutdown = SvcStop

        def SvcOtherEx(self, control: int, _event: int, _data: Any) -> None:  # noqa: N802
            if control == api.SERVICE_CONTROL_PARAMCHANGE:
                reload()

        def SvcDoRun(self) -> None:  # noqa: N802
            try:
                self.ReportServiceStatus(api.SERVICE_RUNNING)
                serve()
            except BaseException as error:
                log.critical("the daemon ended: %s", error, exc_info=True)
                # The manager runs the recovery actions only after an exit with an error.
                self.ReportServiceStatus(api.SERVICE_STOPPED, win32ExitCode=1066, svcExitCode=EXIT_FAILED)
                raise SystemExit(EXIT_FAILED) from None
            finally:
                self._stopped.set()

        def _hint(self) -> None:
            waited = 0.0
            while waited < STOP_WAIT_SECONDS:
                self.ReportServiceStatus(api.SERVICE_STOP_PENDING, waitHint=int(2000 * STOP_HINT_SECONDS))
                if self._stopped.wait(STOP_HINT_SECONDS):
                    return
                waited += STOP_HINT_SECONDS

    return Service
