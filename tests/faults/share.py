"""A share of another machine, as far as this one can tell: a real FUSE mount whose server is a process of its own.

What is changed behind it gives no events here. Its server can be frozen (a network that hangs) and killed (a server that
went away). Read-only, and the kernel may keep nothing of it. The numbers are those of linux/fuse.h, version 7.31.

    python -m tests.faults.share BEHIND FOLDER
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.disks import need_root, unmount

if sys.platform != "linux":
    pytest.skip("these faults are injected with Linux system calls", allow_module_level=True)

KIND = b"fuse.share"
_READ_ONLY, _NO_SUID, _NO_DEVICES = 1, 2, 4  # mount(2)
_REQUEST_BYTES = 1 << 18
_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 14, 15, 17, 18
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _BATCH_FORGET = 25, 26, 27, 28, 29, 42
_DIRECT_IO = 1
_ROOT = 1


class Server:
    """Answers what the kernel asks about the mount. A node is a path below `behind`."""

    def __init__(self, behind: bytes) -> None:
        self._paths = {_ROOT: behind}
        self._nodes = {behind: _ROOT}
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            _LOOKUP: self._lookup, _GETATTR: self._getattr, _OPEN: self._open, _READ: self._read, _STATFS: self._statfs,
            _RELEASE: self._release, _FLUSH: lambda _node, _body: b"", _INIT: self._init,
            _OPENDIR: lambda _node, _body: struct.pack("<QII", 0, 0, 0), _READDIR: self._readdir,
            _RELEASEDIR: lambda _node, _body: b"",
        }  # fmt: skip

    def serve(self, device: int) -> None:
        """Answer until it is unmounted."""
        while True:
            try:
                request = os.read(device, _REQUEST_BYTES)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _, what, number, node, *_ = _IN.unpack_from(request)
            if what in (_FORGET, _BATCH_FORGET):
                continue
            body, problem = b"", 0
            try:
                answer = self._answers.get(what)
                if answer is None:
                    raise OSError(errno.ENOSYS, "not here")
                body = answer(node, request[_IN.size :])
            except OSError as error:
                problem = error.errno or errno.EIO
            # A question that was withdrawn meanwhile wants no answer.
            with contextlib.suppress(FileNotFoundError):
                os.write(device, _OUT.pack(_OUT.size + len(body), -problem, number) + body)

    def _init(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 8, 6, 1 << 16, 1, 0, 0, 0)

    def _lookup(self, node: int, body: bytes) -> bytes:
        path = os.path.join(self._paths[node], body.rstrip(b"\0"))
        attributes = _attributes(path)
        child = self._nodes.setdefault(path, len(self._nodes) + 1)
        self._paths[child] = path
        return struct.pack("<QQQQII", child, 0, 0, 0, 0, 0) + attributes

    def _getattr(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + _attributes(self._paths[node])

    def _open(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", os.open(self._paths[node], os.O_RDONLY | os.O_NOFOLLOW), _DIRECT_IO, 0)

    def _read(self, _node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def _release(self, _node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        answer = b""
        for number, name in enumerate(sorted(os.listdir(self._paths[node])), 1):
            entry = struct.pack("<QQII", 1, number, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if number > offset:
                if len(answer) + len(entry) > size:
                    break
                answer += entry
        return answer

    def _statfs(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0)


def _attributes(path: bytes) -> bytes:
    found = os.lstat(path)
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    whole, parts = [time // 10**9 for time in times], [time % 10**9 for time in times]
    return _ATTR.pack(
        found.st_ino, found.st_size, found.st_blocks, *whole, *parts,
        found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, 4096, 0,
    )  # fmt: skip


class Share:
    """A share at `folder` that shows what lies in `behind`."""

    def __init__(self, behind: Path, folder: Path) -> None:
        need_root()
        if not Path("/dev/fuse").exists():
            pytest.skip("there is no /dev/fuse here")
        self.behind, self.folder = behind, folder
        for one in (behind, folder):
            one.mkdir(parents=True, exist_ok=True)
        self._server: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        """Mount it. Skips the test where this machine does not allow it."""
        command = [sys.executable, "-m", __name__, str(self.behind), str(self.folder)]
        self._server = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        assert self._server.stdout is not None
        if self._server.stdout.readline() != b"mounted\n":
            pytest.skip(f"no FUSE here: {self._server.communicate()[1].decode()[-200:]}")

    def freeze(self) -> None:
        """Nothing is answered any more, as with a network that hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def kill_server(self) -> None:
        """The mount stays, and every call on it fails: "transport endpoint is not connected"."""
        self._signal(signal.SIGKILL)
        assert self._server is not None
        self._server.communicate()
        self._server = None

    def unmount(self) -> None:
        """Take it away, whatever state it is in."""
        if self._server is not None:
            self.kill_server()
        unmount(self.folder)

    def _signal(self, number: int) -> None:
        assert self._server is not None
        self._server.send_signal(number)


@contextlib.contextmanager
def share(behind: Path, folder: Path) -> Iterator[Share]:
    """A mounted share, which is taken away at the end."""
    made = Share(behind, folder)
    made.mount()
    try:
        yield made
    finally:
        made.unmount()


def main(behind: str, folder: str) -> None:
    """Mount and serve until it is unmounted."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0,allow_other".encode()
    if libc.mount(KIND, os.fsencode(folder), KIND, _READ_ONLY | _NO_SUID | _NO_DEVICES, options):
        raise OSError(ctypes.get_errno(), f"mount: {os.strerror(ctypes.get_errno())}")
    sys.stdout.buffer.write(b"mounted\n")
    sys.stdout.buffer.flush()
    Server(os.fsencode(behind)).serve(device)


if __name__ == "__main__":
    main(*sys.argv[1:])
