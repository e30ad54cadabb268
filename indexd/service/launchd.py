"""Service manager launchd of macOS: a user agent, or a system daemon that runs as a user.

See launchd.plist(5), launchctl(1).
"""

from __future__ import annotations

import os
import plistlib
from pathlib import Path
from typing import Literal

from indexd.errors import IndexdError
from indexd.fs.private_files import current_user_id
from indexd.service.installer import CommandRunner, Installer, file_ownership, run_command, with_signature
from indexd.service.service_spec import InstallationStatus, ServiceSpec

LABEL = "org.indexd.indexd"
AGENTS = Path("~/Library/LaunchAgents")
DAEMONS = Path("/Library/LaunchDaemons")
LOG = Path("Library/Logs/indexd.log")
_XML_COMMENT = ("<!-- ", " -->")


def plist_text(spec: ServiceSpec, log: Path, *, system: bool) -> str:
    """The property list, with the signature as a comment at the end."""
    content: dict[str, object] = {
        "Label": LABEL,
        "ProgramArguments": [*spec.program, "--log-file", str(log), "--end-when-stuck"],
        "RunAtLoad": True,
        # Restart after a crash, but not after a clean stop.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        # The daemon needs time to drain: a running render gets ten seconds before its item returns to the queue.
        "ExitTimeOut": 60,
        "Umask": 0o077,
        "Nice": 5,
        "SoftResourceLimits": {"NumberOfFiles": 65536},
        "HardResourceLimits": {"NumberOfFiles": 65536},
        # Only for errors before the daemon opens its rotating log file.
        "StandardErrorPath": str(log.with_suffix(".err")),
    }
    if system:
        content["UserName"] = spec.user
    return with_signature(plistlib.dumps(content, sort_keys=False).decode(), _XML_COMMENT)


class Launchd:
    """`folder` is the folder of property lists; None = the standard one."""

    def __init__(
        self,
        scope: Literal["user", "system"],
        user: str,
        run: CommandRunner = run_command,
        folder: Path | None = None,
        uid: int | None = None,
        home: Path | None = None,
    ) -> None:
        self._system = scope == "system"
        self._run = run
        self._plist = (folder or (DAEMONS if self._system else AGENTS.expanduser())) / f"{LABEL}.plist"
        uid = current_user_id() if uid is None else uid
        self._domain = "system" if self._system else f"gui/{uid}"
        self._log = (home or Path(os.path.expanduser(f"~{user}" if self._system else "~"))) / LOG

    def install(self, spec: ServiceSpec, installer: Installer, *, now: bool) -> None:
        """See ServiceManager. launchd starts a job when it is loaded, so without `now` the property list is only written."""
        if self._system and spec.user == "root":
            raise IndexdError("indexd does not run as root; name the owner of the images: --run-as USER")
        for folder in (*spec.own_folders, self._log.parent):
            installer.make_folder(folder)
        installer.write_file(self._plist, plist_text(spec, self._log_file(spec), system=self._system))
        if now:
            installer.run("launchctl", "bootout", f"{self._domain}/{LABEL}", may_fail=True)
            installer.run("launchctl", "bootstrap", self._domain, str(self._plist))

    def uninstall(self, installer: Installer) -> None:
        if file_ownership(self._plist) == "absent":
            installer.report(f"there is no {self._plist}; nothing to do")
            return
        installer.run("launchctl", "bootout", f"{self._domain}/{LABEL}", may_fail=True)
        installer.remove_file(self._plist)

    def start(self, installer: Installer) -> None:
        self._require_plist()
        installer.run("launchctl", "bootstrap", self._domain, str(self._plist), may_fail=True)
        installer.run("launchctl", "kickstart", f"{self._domain}/{LABEL}")

    def stop(self, installer: Installer) -> None:
        """See ServiceManager. Unloads the job until the next login, because launchd would restart a stopped one."""
        self._require_plist()
        installer.run("launchctl", "bootout", f"{self._domain}/{LABEL}")

    def status(self, spec: ServiceSpec) -> InstallationStatus:
        ownership = file_ownership(self._plist)
        if ownership == "absent":
            return InstallationStatus(False, False, False, f"there is no {self._plist}")
        expected = plist_text(spec, self._log_file(spec), system=self._system)
        current = self._plist.read_text("utf-8", "surrogateescape") == expected
        shown = self._run(("launchctl", "print", f"{self._domain}/{LABEL}"))
        running = shown.returncode == 0 and "state = running" in shown.stdout
        parts = [f"{LABEL} {'runs' if running else 'does not run'}"]
        if ownership != "ours":
            parts.append(f"{self._plist} was edited")
        elif not current:
            parts.append(f"{self._plist} is older than this indexd or its settings")
        return InstallationStatus(True, current, running, "; ".join(parts))

    def logs(self, spec: ServiceSpec, _lines: int, _follow: bool) -> Path:
        return self._log_file(spec)

    def _log_file(self, spec: ServiceSpec) -> Path:
        return spec.log_file or self._log

    def _require_plist(self) -> None:
        if file_ownership(self._plist) == "absent":
            raise IndexdError(f"{self._plist} does not exist; run `indexd service install`")
