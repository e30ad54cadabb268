"""What runs inside a service of Windows: the stop of the service control manager becomes the daemon's drain."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from indexd.service.service_spec import SERVICE_NAME
from indexd.service.windows_service import STOP_WAIT_SECONDS

log = logging.getLogger(__name__)

# Sent every so often while it stops: without it the manager thinks after its own patience that the service hangs.
STOP_HINT_SECONDS = 5.0
EXIT_FAILED = 1


def host_service(
    serve: Callable[[], None],
    stop: Callable[[], None],
    reload: Callable[[], None],
    load: Callable[[str], Any] = importlib.import_module,
) -> None:
    """Hand this process to the service control manager; returns when the service has ended."""
    manager = load("servicemanager")
    manager.Initialize()
    manager.PrepareToHostSingle(make_service_class(serve, stop, reload, load))
    manager.StartServiceCtrlDispatcher()


def make_service_class(
    serve: Callable[[], None], stop: Callable[[], None], reload: Callable[[], None], load: Callable[[str], Any]
) -> type:
    """The class that pywin32 makes an object of and calls."""
    api, framework = load("win32service"), load("win32serviceutil").ServiceFramework

    class Service(framework):  # type: ignore[misc,valid-type]
        _svc_name_ = SERVICE_NAME

        def __init__(self, arguments: Any) -> None:
            framework.__init__(self, arguments)
            self._over = threading.Event()

        def GetAcceptedControls(self) -> int:  # noqa: N802 - the names are pywin32's
            """Stop, shutdown, and "parameters changed", which is what Windows has for a reload."""
            accepted: int = framework.GetAcceptedControls(self)
            return accepted | int(api.SERVICE_ACCEPT_SHUTDOWN) | int(api.SERVICE_ACCEPT_PARAMCHANGE)

        def SvcStop(self) -> None:  # noqa: N802
            """The drain begins here and ends in SvcDoRun; until then the manager is told that it goes on."""
            stop()
            threading.Thread(target=self._hint, name="service-hint", daemon=True).start()

        SvcShutdown = SvcStop

        def SvcOtherEx(self, control: int, _event: int, _data: Any) -> None:  # noqa: N802
            if control == api.SERVICE_CONTROL_PARAMCHANGE:
                reload()

        def SvcDoRun(self) -> None:  # noqa: N802
            """The whole life of the daemon."""
            try:
                self.ReportServiceStatus(api.SERVICE_RUNNING)
                serve()
            except BaseException as error:
                log.critical("the daemon ended: %s", error, exc_info=True)
                # An end with an error is what makes the recovery actions start it again.
                self.ReportServiceStatus(api.SERVICE_STOPPED, win32ExitCode=1066, svcExitCode=EXIT_FAILED)
                raise SystemExit(EXIT_FAILED) from None
            finally:
                self._over.set()

        def _hint(self) -> None:
            waited = 0.0
            while waited < STOP_WAIT_SECONDS:
                self.ReportServiceStatus(api.SERVICE_STOP_PENDING, waitHint=int(2000 * STOP_HINT_SECONDS))
                if self._over.wait(STOP_HINT_SECONDS):
                    return
                waited += STOP_HINT_SECONDS

    return Service
