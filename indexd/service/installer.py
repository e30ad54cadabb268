"""Writes files and runs commands for `service install` and `uninstall`, or only prints them (`--dry-run`).

Each written file has a signature line with a checksum of the rest. The signature distinguishes our unchanged files from
edited and foreign ones, which are replaced or removed only with `--replace`.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from indexd.errors import IndexdError

CommandRunner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
COMMAND_SECONDS = 60.0
"""Starting or stopping a service waits for it; a service manager that hangs must not hang the command."""
FileOwnership = Literal["absent", "ours", "edited", "foreign"]

_SIGNATURE = re.compile(r"^.*written by `indexd service install`, checksum ([0-9a-f]{16}).*\n", re.MULTILINE)


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output. Raises IndexdError when the program does not exist or does not answer."""
    try:
        return subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
            timeout=COMMAND_SECONDS,
        )
    except FileNotFoundError:
        raise IndexdError(f"there is no {command[0]} on this system") from None
    except subprocess.TimeoutExpired:
        raise IndexdError(f"`{shlex.join(command)}` gave no answer for {COMMAND_SECONDS:g} s") from None


def with_signature(text: str, comment: tuple[str, str] = ("# ", "")) -> str:
    """Append the signature line; `comment` is the start and the end of a comment in the file format."""
    text = text if text.endswith("\n") else text + "\n"
    line = f"{comment[0]}written by `indexd service install`, checksum {_checksum(text)}{comment[1]}\n"
    return text + line


def file_ownership(file: Path) -> FileOwnership:
    try:
        text = file.read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return "absent"
    except OSError:
        return "foreign"
    signature = _SIGNATURE.search(text)
    if signature is None:
        return "foreign"
    return "ours" if _checksum(text[: signature.start()] + text[signature.end() :]) == signature[1] else "edited"


def _checksum(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


# Error messages of systemctl, and the advice for each.
REMEDIES = {
    "Failed to connect to bus": "this user has no running service manager: log in as that user (not with `su`), or use --system",
    "Access denied": "use sudo",
    "Interactive authentication required": "use sudo",
}


class Installer:
    """Performs the steps of an installation. `echo` prints each step; with `dry_run` the step is only printed."""

    def __init__(
        self,
        echo: Callable[[str], None],
        *,
        dry_run: bool = False,
        replace: bool = False,
        run: CommandRunner = run_command,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """`replace`: rename edited files and write new ones. `owner`: user id and group id of new folders."""
        self._echo = echo
        self._dry_run = dry_run
        self.replaces_edited = replace
        self._run = run
        self._owner = owner

    def write_file(self, file: Path, text: str) -> None:
        """Write a signed text atomically. Raises IndexdError for an edited or foreign file without `replace`."""
        ownership = file_ownership(file)
        if ownership in ("edited", "foreign"):
            if not self.replaces_edited:
                how = "was edited" if ownership == "edited" else "was not written by `indexd service install`"
                raise IndexdError(
                    f"{file} {how} and stays unchanged; move it away, or use --replace to rename it first"
                )
            self._back_up_file(file)
        elif ownership == "ours" and file.read_text("utf-8", "surrogateescape") == text:
            self._echo(f"unchanged: {file}")
            return
        if self._dry_run:
            self._echo(f"would write {file}:\n{text.rstrip()}\n")
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.part")
            partial.write_text(text, "utf-8", "surrogateescape", newline="\n")
            os.replace(partial, file)
        except OSError as error:
            raise IndexdError(f"cannot write {file}: {error.strerror or error}") from None
        self._echo(f"written: {file}")

    def remove_file(self, file: Path) -> bool:
        """Remove a signed file, and its drop-in folder if that is empty. Returns whether the file is gone."""
        ownership = file_ownership(file)
        if ownership == "absent":
            return True
        if ownership != "ours" and not (ownership == "edited" and self.replaces_edited):
            how = "was edited (use --replace to rename it)" if ownership == "edited" else "was not written by indexd"
            self._echo(f"not removed: {file} {how}")
            return False
        if ownership == "edited":
            self._back_up_file(file)
            return True
        if self._dry_run:
            self._echo(f"would remove {file}")
            return True
        try:
            file.unlink()
            if file.parent.name.endswith(".d") and not any(file.parent.iterdir()):
                file.parent.rmdir()
        except OSError as error:
            raise IndexdError(f"cannot remove {file}: {error.strerror or error}") from None
        self._echo(f"removed: {file}")
        return True

    def make_folder(self, folder: Path) -> None:
        """Create a missing folder and its missing parents for the user of the service."""
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        if not missing:
            return
        if self._dry_run:
            self._echo(f"would create {folder}")
            return
        try:
            for one in reversed(missing):
                one.mkdir(mode=0o700)
                if self._owner is not None and sys.platform != "win32":
                    os.chown(one, *self._owner)
        except OSError as error:
            raise IndexdError(f"cannot create {folder}: {error.strerror or error}") from None
        self._echo(f"created: {folder}")

    def run(self, *command: str, may_fail: bool = False) -> None:
        """Run a command. Raises IndexdError with its output when it fails, unless `may_fail`."""
        if self._dry_run:
            self._echo(f"would run: {shlex.join(command)}")
            return
        completed = self._run(command)
        if completed.returncode and not may_fail:
            output = (completed.stderr or completed.stdout or "").strip() or f"exit code {completed.returncode}"
            remedy = next((f"; {remedy}" for message, remedy in REMEDIES.items() if message in output), "")
            raise IndexdError(f"`{shlex.join(command)}` failed: {output}{remedy}")
        if not completed.returncode:
            self._echo(f"ran: {shlex.join(command)}")

    def report(self, text: str) -> None:
        """Print a text for the user."""
        self._echo(text)

    def run_action(self, what: str, action: Callable[[], object]) -> None:
        """Run a step that is neither a file nor a command. `what` is an imperative phrase."""
        if self._dry_run:
            self._echo(f"would {what}")
            return
        action()
        self._echo(f"done: {what}")

    def _back_up_file(self, file: Path) -> None:
        backup = next(
            path
            for number in itertools.count(1)
            if not (path := file.with_name(f"{file.name}.yours-{number}")).exists()
        )
        self.run_action(f"rename {file} to {backup.name}", lambda: file.rename(backup))
