"""The Linux watcher: inotify(7) read by a thread that sleeps until something happens.

It is used instead of the portable one because it costs nothing while idle (the portable one wakes 20 times a second),
tells when a writer has closed a file, says when events were lost, and does not stumble over names that are not UTF-8.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import sys
import threading
from functools import partial
from pathlib import Path

from indexd.background.background_service import start_thread
from indexd.errors import is_out_of_handles
from indexd.fs.paths import absolute, display
from indexd.watch.watchers.watcher import (
    ChangeKind,
    FailureCallback,
    FolderPredicate,
    Hint,
    HintCallback,
    WatcherFailed,
)

_ATTRIB, _CLOSE_WRITE = 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLYDIR, _DONT_FOLLOW, _ISDIR = 0x01000000, 0x02000000, 0x40000000
_MASK = _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_INIT_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

_HEADER = struct.Struct("iIII")
_READ_BYTES = 1 << 18
_LIMITS_FOLDER = Path("/proc/sys/fs/inotify")
_CHANGES: tuple[tuple[int, ChangeKind], ...] = (
    (_DELETE | _MOVED_FROM, "gone"),
    (_MOVED_TO, "renamed"),
    (_CREATE | _CLOSE_WRITE | _ATTRIB, "changed"),
)

_TRANSIENT_ERRNOS = (errno.ENFILE, errno.ENOMEM)

_libc = ctypes.CDLL(None, use_errno=True)


def is_available() -> bool:
    """Whether the C library has inotify."""
    return hasattr(_libc, "inotify_init1") and hasattr(_libc, "inotify_add_watch")


class InotifyWatcher:
    """Hints of one folder tree. A watch is set on every folder that `enters` lets in, links are not followed."""

    name = "inotify"

    def __init__(self, root: bytes, enters: FolderPredicate) -> None:
        self._root = root
        self._enters_folder = enters
        self._folder_by_watch: dict[int, bytes] = {}
        self._watch_by_folder: dict[bytes, int] = {}
        self._queue = -1
        self._stop_read = -1
        self._stop_write = -1
        self._thread: threading.Thread | None = None

    def start(self, notify: HintCallback, failed: FailureCallback) -> None:
        """Set the watches, then read events in a thread. Raises WatcherFailed."""
        try:
            self._stop_read, self._stop_write = os.pipe()
            self._open_queue()
            self._watch_tree(b"")
            self._thread = start_thread(partial(self._run, notify, failed), "inotify")
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise WatcherFailed(f"the folder cannot be watched now: {error}") from error
            raise

    def close(self) -> None:
        """End the thread and give the watches back to the system."""
        if self._thread is not None and self._thread is not threading.current_thread():
            os.write(self._stop_write, b".")
            self._thread.join()
        self._thread = None
        for descriptor in (self._queue, self._stop_read, self._stop_write):
            if descriptor >= 0:
                os.close(descriptor)
        self._queue = self._stop_read = self._stop_write = -1

    def _open_queue(self) -> None:
        self._queue = _libc.inotify_init1(_INIT_FLAGS)
        if self._queue >= 0:
            return
        number = ctypes.get_errno()
        # The same number stands for the limit of this user's watchers and for that of this process' handles.
        os.close(os.dup(self._stop_read))
        if number in _TRANSIENT_ERRNOS:
            raise OSError(number, os.strerror(number))
        raise WatcherFailed(_limit_message("max_user_instances", number), permanent=True)

    def _run(self, notify: HintCallback, failed: FailureCallback) -> None:
        if sys.platform == "win32":
            raise WatcherFailed("this system has no inotify", permanent=True)
        poll = select.poll()
        poll.register(self._queue, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN)
        try:
            while all(descriptor == self._queue for descriptor, _ in poll.poll()):
                hints: dict[bytes, Hint] = {}
                try:
                    self._read(hints)
                finally:
                    if hints:
                        notify(hints)
        except WatcherFailed as failure:
            failed(failure)
        except OSError as error:
            failed(WatcherFailed(f"the watcher failed: {error.strerror or error}"))

    def _read(self, hints: dict[bytes, Hint]) -> None:
        try:
            data = os.read(self._queue, _READ_BYTES)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, position)
            position += _HEADER.size + length
            name = data[position - length : position].rstrip(b"\0")
            self._handle_event(watch, mask, name, hints)

    def _handle_event(self, watch: int, mask: int, name: bytes, hints: dict[bytes, Hint]) -> None:
        if mask & _OVERFLOW:
            raise WatcherFailed("events were lost: more happened at once than the system keeps")
        folder = self._folder_by_watch.get(watch)
        if folder is None:
            return
        if folder == b"" and mask & (_DELETE_SELF | _MOVE_SELF | _UNMOUNT):
            raise WatcherFailed("the folder itself was removed, moved or unmounted")
        if mask & _IGNORED:
            # It comes late for a folder that somebody held open, when another one may bear the name already.
            del self._folder_by_watch[watch]
            if self._watch_by_folder.get(folder) == watch:
                del self._watch_by_folder[folder]
        elif name:
            rel = folder + b"/" + name if folder else name
            if mask & _ISDIR:
                self._handle_folder_event(rel, mask, hints)
            else:
                change = next((change for bits, change in _CHANGES if mask & bits), None)
                if change is not None:
                    hints[rel] = Hint(rel, change, is_folder=False)

    def _handle_folder_event(self, rel: bytes, mask: int, hints: dict[bytes, Hint]) -> None:
        if not mask & (_CREATE | _MOVED_TO | _DELETE | _MOVED_FROM) or not self._enters_folder(rel):
            return
        if mask & (_CREATE | _MOVED_TO):
            # Before anyone scans the new folder, so that what comes later is an event and what came before is found.
            hints[rel] = Hint(rel, "appeared", is_folder=True)
            self._watch_tree(rel)
            return
        hints[rel] = Hint(rel, "gone", is_folder=True)
        if mask & _MOVED_FROM:
            self._unwatch_tree(rel)

    def _watch_tree(self, top: bytes) -> None:
        """Watch a folder and all below it: each before it is listed, so that no new folder falls in between."""
        folders = [top]
        while folders:
            rel = folders.pop()
            if not self._watch(rel):
                continue
            prefix = rel + b"/" if rel else b""
            try:
                with os.scandir(absolute(self._root, rel)) as entries:
                    below = [prefix + entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError as error:
                if is_out_of_handles(error):
                    # What lies below stays unwatched, and nobody would know. Else it is this folder's own: the sweep looks.
                    raise WatcherFailed(f"{display(rel)} cannot be listed: {error.strerror}") from error
                continue
            folders.extend(filter(self._enters_folder, below))

    def _watch(self, rel: bytes) -> bool:
        mask = _MASK | (_DONT_FOLLOW if rel else 0)
        watch = _libc.inotify_add_watch(self._queue, absolute(self._root, rel), mask)
        if watch >= 0:
            self._folder_by_watch[watch] = rel
            self._watch_by_folder[rel] = watch
            return True
        number = ctypes.get_errno()
        if number in _TRANSIENT_ERRNOS:
            raise WatcherFailed(f"the system refuses to watch: {os.strerror(number)}")
        if number == errno.ENOSPC:
            raise WatcherFailed(_limit_message("max_user_watches", number), permanent=True)
        if not rel:
            raise WatcherFailed(f"the folder cannot be watched: {os.strerror(number)}")
        # Gone again, or not ours to read: the scan says so.
        return False

    def _unwatch_tree(self, top: bytes) -> None:
        inside = top + b"/"
        for rel in [rel for rel in self._watch_by_folder if rel == top or rel.startswith(inside)]:
            _libc.inotify_rm_watch(self._queue, self._watch_by_folder[rel])
            self._forget(rel)

    def _forget(self, rel: bytes) -> None:
        watch = self._watch_by_folder.pop(rel, None)
        if watch is not None:
            self._folder_by_watch.pop(watch, None)


def _limit_message(name: str, number: int) -> str:
    if number not in (errno.ENOSPC, errno.EMFILE):
        return f"the system refuses to watch: {os.strerror(number)}"
    try:
        value = (_LIMITS_FOLDER / name).read_text().strip()
    except OSError:
        value = "unknown"
    return f"the system's limit is reached (fs.inotify.{name} = {value}; raise it with sysctl)"
