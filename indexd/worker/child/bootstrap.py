"""What a worker process does to itself before it serves: offline, quiet, its own signals, and an end with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable

from indexd.images.read_limits import limit_memory
from indexd.reproducibility import set_reproducible_environment
from indexd.worker.calls import READ_LANES, READ_ON_DEMAND_LANE, WorkerSettings
from indexd.worker.protocol import LogMessage
from indexd.worker.routing import CPU, DECODE, TORCH_FREE_LANES

OFFLINE_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
}
"""Set before any of the libraries is imported: they read them once. Nothing here ever fetches."""

LIBRARY_FOLDER_VARIABLES = ("YOLO_CONFIG_DIR", "MPLCONFIGDIR")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PR_SET_PDEATHSIG = 1
_READER_LANES = (*READ_LANES, READ_ON_DEMAND_LANE)


def prepare_process(lane: str, settings: WorkerSettings) -> None:
    """Make this process a worker of `lane`."""
    _exit_with_parent()
    # The daemon decides when a worker ends: Ctrl-C and a service manager's SIGTERM reach the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A library's print must never stand in the results of a command that started this worker.
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    os.environ.update(OFFLINE_ENVIRONMENT)
    set_reproducible_environment()
    # ultralytics and matplotlib, which it imports, would write their settings into the user's home.
    for name in LIBRARY_FOLDER_VARIABLES:
        os.environ[name] = os.path.join(settings.cache_folder, "libraries")
    # A waiting OpenMP thread sleeps: on busy cores, threads that spin made a small network 20 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    threads = 1 if lane == DECODE or lane in _READER_LANES else settings.threads
    if threads:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    if lane in _READER_LANES:
        importlib.import_module("indexd.images.read_images")  # its code is not counted
        limit_memory()
    if lane not in TORCH_FREE_LANES:
        _use_thread_lock_in_tqdm()
    if lane == CPU:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no context on the card: that alone would hold 0.5 GB of it


def forward_logs(send: Callable[[LogMessage], None], level: str) -> None:
    """Send what this process logs to the daemon's log, ours from `level` on, the libraries' from WARNING on."""
    root = logging.getLogger()
    root.handlers = [_PipeLogHandler(send)]
    root.setLevel(logging.WARNING)
    logging.getLogger("indexd").setLevel(level)
    logging.captureWarnings(False)


class _PipeLogHandler(logging.Handler):
    def __init__(self, send: Callable[[LogMessage], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(LogMessage(record.levelno, record.name, self.format(record)))


def _use_thread_lock_in_tqdm() -> None:
    """tqdm's lock is shared between processes by default, and the daemon would report it as leaked when this one is killed."""
    importlib.import_module("tqdm").tqdm.set_lock(threading.RLock())


def _exit_with_parent() -> None:
    """On Linux the kernel ends this process with its parent, even while native code keeps every other thread waiting.

    Elsewhere, and where this fails, the end of the pipe does it.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)  # it died before the line above
