"""Service manager systemd: a user unit, or a system template unit that runs as a user.

The unit files (`systemd/` of the source, `share/indexd/systemd` of an installation) are copied unchanged. A drop-in has
the settings of this machine. See systemd.unit(5), systemd.exec(5), systemd.syntax(7).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Literal

from indexd.errors import IndexdError
from indexd.service.installer import CommandRunner, Installer, file_ownership, run_command, with_signature
from indexd.service.service_spec import SERVICE_NAME, InstallationStatus, ServiceSpec

UnitScope = Literal["user", "system"]

DROP_IN = "50-indexd.conf"
_EXTRA_FOLDERS_COMMENT = "# Folders from --writable; they stay until `indexd service uninstall`."
SYSTEM_UNIT_FOLDER = Path("/etc/systemd/system")
_CHECKOUT_UNITS = Path(__file__).resolve().parents[2] / "systemd"
_UNQUOTED_WORD = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def unit_text(name: str) -> str:
    """Read a unit file of the installation, or of the source checkout. Raises IndexdError if there is none."""
    try:
        installed = [Path(str(entry.locate())) for entry in files(SERVICE_NAME) or () if entry.name == name]
    except PackageNotFoundError:
        installed = []
    for path in (*installed, _CHECKOUT_UNITS / name):
        if path.is_file():
            return path.read_text("utf-8")
    raise IndexdError(f"the unit file {name} is not part of this installation; install indexd again")


def quote_unit_word(word: str, *, command: bool = False) -> str:
    """Quote a word for a unit file: escape specifiers, quotes, spaces and, in a `command`, variables."""
    if any(ord(character) < 32 for character in word):
        raise IndexdError(f"{word!r} has a control character, which a unit file cannot contain")
    escaped = word.replace("%", "%%")
    if command:
        escaped = escaped.replace("$", "$$")
    if _UNQUOTED_WORD.fullmatch(escaped):
        return escaped
    quoted = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def drop_in_text(spec: ServiceSpec, scope: UnitScope, kept: Iterable[str] = ()) -> str:
    """The drop-in of this machine. `kept` are `ReadWritePaths` lines from an earlier `install --writable`."""
    lines = [
        "[Service]",
        "# An absolute path, because a service has no virtual environment.",
        "ExecStart=",
        f"ExecStart={' '.join(quote_unit_word(word, command=True) for word in spec.program)}",
    ]
    if scope == "system":
        lines.append("# The folders of the settings; `-` = the folder may be missing. All others are read-only.")
        lines.append("# Run `indexd service install --system` again after a change of the settings.")
        lines += [f"ReadWritePaths={quote_unit_word(f'-{folder}')}" for folder in spec.writable_folders]
        if extra := sorted(
            {*(f"ReadWritePaths={quote_unit_word(f'-{folder}')}" for folder in spec.extra_writable_folders), *kept}
        ):
            lines += [_EXTRA_FOLDERS_COMMENT, *extra]
    return with_signature("\n".join(lines))


class Systemd:
    """`folder` is the folder of unit files; None = the standard one."""

    def __init__(
        self, scope: UnitScope, user: str, run: CommandRunner = run_command, folder: Path | None = None
    ) -> None:
        self._scope = scope
        self._run = run
        self._folder = folder or (SYSTEM_UNIT_FOLDER if scope == "system" else _user_unit_folder())
        self._systemctl = ("systemctl", "--user") if scope == "user" else ("systemctl",)
        self._template = f"{SERVICE_NAME}.service" if scope == "user" else f"{SERVICE_NAME}@.service"
        self.unit = f"{SERVICE_NAME}.service" if scope == "user" else f"{SERVICE_NAME}@{user}.service"
        self._user = user

    def install(self, spec: ServiceSpec, installer: Installer, *, now: bool) -> None:
        if self._scope == "system" and spec.user == "root":
            raise IndexdError("indexd does not run as root; name the owner of the images: --run-as USER")
        for folder in spec.own_folders:
            installer.make_folder(folder)
        for file, text in self._unit_files(spec):
            installer.write_file(file, text)
        installer.run(*self._systemctl, "daemon-reload")
        installer.run(*self._systemctl, "enable", self.unit)
        if now:
            installer.run(*self._systemctl, "restart", self.unit)
        if self._scope == "user" and not self._lingers():
            installer.report(
                f"the service runs only while you are logged in; to change that: loginctl enable-linger {spec.user}"
            )

    def uninstall(self, installer: Installer) -> None:
        template, drop_in = self._folder / self._template, self._folder / f"{self.unit}.d" / DROP_IN
        if file_ownership(template) == "absent" and file_ownership(drop_in) == "absent":
            installer.report(f"there is no {self.unit} in {self._folder}; nothing to do")
            return
        installer.run(*self._systemctl, "disable", "--now", self.unit, may_fail=True)
        installer.remove_file(drop_in)
        others = [folder for folder in self._folder.glob(f"{SERVICE_NAME}@*.service.d") if folder != drop_in.parent]
        if self._scope == "user" or not others:
            installer.remove_file(template)
        # Without a running manager this fails, and no manager has the unit loaded.
        installer.run(*self._systemctl, "daemon-reload", may_fail=True)

    def start(self, installer: Installer) -> None:
        self._require_unit()
        installer.run(*self._systemctl, "start", self.unit)

    def stop(self, installer: Installer) -> None:
        self._require_unit()
        installer.run(*self._systemctl, "stop", self.unit)

    def status(self, spec: ServiceSpec) -> InstallationStatus:
        template = self._folder / self._template
        if file_ownership(template) == "absent":
            return InstallationStatus(False, False, False, f"there is no {self._template} in {self._folder}")
        expected = self._unit_files(spec)
        old = [file for file, text in expected if _read_if_readable(file) != text]
        edited = [file for file, _ in expected if file_ownership(file) in ("edited", "foreign")]
        shown = self._run((*self._systemctl, "show", self.unit, "--property=ActiveState,StatusText,NRestarts"))
        properties = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
        running = properties.get("ActiveState") in ("active", "reloading")
        parts = [f"{self.unit} is {properties.get('ActiveState') or 'unknown to the manager'}"]
        if properties.get("StatusText"):
            parts.append(properties["StatusText"])
        if properties.get("NRestarts", "0") != "0":
            parts.append(f"restarted {properties['NRestarts']} times")
        if edited:
            parts.append(f"edited: {', '.join(map(str, edited))}")
        elif old:
            parts.append(f"older than this indexd or its settings: {', '.join(map(str, old))}")
        return InstallationStatus(True, not old, running, "; ".join(parts))

    def logs(self, _spec: ServiceSpec, lines: int, follow: bool) -> list[str]:
        scope = ["--user"] if self._scope == "user" else []
        unit = ["--user-unit" if self._scope == "user" else "--unit", self.unit]
        return ["journalctl", *scope, *unit, "--lines", str(lines), *(["--follow"] if follow else ["--no-pager"])]

    def _unit_files(self, spec: ServiceSpec) -> list[tuple[Path, str]]:
        drop_in = self._folder / f"{self.unit}.d" / DROP_IN
        _, _, extra_lines = (_read_if_readable(drop_in) or "").partition(f"{_EXTRA_FOLDERS_COMMENT}\n")
        kept = [line for line in extra_lines.splitlines() if line.startswith("ReadWritePaths=")]
        return [
            (self._folder / self._template, with_signature(unit_text(self._template))),
            (drop_in, drop_in_text(spec, self._scope, kept)),
        ]

    def _require_unit(self) -> None:
        if file_ownership(self._folder / self._template) == "absent":
            option = " --system" if self._scope == "system" else ""
            raise IndexdError(f"{self.unit} is not installed; run `indexd service install{option}`")

    def _lingers(self) -> bool:
        return Path("/var/lib/systemd/linger", self._user).exists()


def _user_unit_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "systemd" / "user"


def _read_if_readable(file: Path) -> str | None:
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
