"""The hands of install and uninstall: files that know who wrote them, and commands; or, on request, only a word of both.

Every file that is written bears a line with a checksum of the rest. So a file that was changed since, and one that
somebody else wrote, are told apart from ours: neither is overwritten or taken away without being asked for.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from indexd.errors import IndexdError

CommandRunner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
FileOwnership = Literal["absent", "ours", "edited", "foreign"]

_SIGNATURE = re.compile(r"^.*written by `indexd service install`, checksum ([0-9a-f]{16}).*\n", re.MULTILINE)


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the system and keep what it says. Raises IndexdError when there is no such command."""
    try:
        return subprocess.run(list(command), capture_output=True, text=True, check=False, errors="replace")
    except FileNotFoundError:
        raise IndexdError(f"there is no {command[0]} on this system") from None


def with_signature(text: str, comment: tuple[str, str] = ("# ", "")) -> str:
    """The text with our line at its end; `comment` begins and ends a comment in that kind of file."""
    text = text if text.endswith("\n") else text + "\n"
    line = f"{comment[0]}written by `indexd service install`, checksum {_checksum(text)}{comment[1]}\n"
    return text + line


def file_ownership(file: Path) -> FileOwnership:
    """Whose the file is."""
    try:
        text = file.read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return "absent"
    except OSError:
        return "foreign"
    sign = _SIGNATURE.search(text)
    if sign is None:
        return "foreign"
    return "ours" if _checksum(text[: sign.start()] + text[sign.end() :]) == sign[1] else "edited"


def _checksum(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


# What systemctl says, and what a person can do about it.
REMEDIES = {
    "Failed to connect to bus": "no manager of this user runs: log in as that user (not with `su`), or say --system",
    "Access denied": "say it with sudo",
    "Interactive authentication required": "say it with sudo",
}


class Installer:
    """`say` hears a line about everything that is done, or with `dry_run` would be."""

    def __init__(
        self,
        echo: Callable[[str], None],
        *,
        dry_run: bool = False,
        replace: bool = False,
        run: CommandRunner = run_command,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """`replace`: what was edited is set aside and written anew. `owner`: to whom folders that are made belong."""
        self._echo = echo
        self._dry_run = dry_run
        self.replaces_edited = replace
        self._run = run
        self._owner = owner

    def write_file(self, file: Path, text: str) -> None:
        """Put a signed text under a name. Raises IndexdError where somebody else's hand is in the file."""
        whose = file_ownership(file)
        if whose in ("edited", "foreign"):
            if not self.replaces_edited:
                how = "was changed by hand" if whose == "edited" else "was not written by `indexd service install`"
                raise IndexdError(
                    f"{file} {how} and is left as it is; move it away, or say --replace: then it is set aside first"
                )
            self._back_up_file(file)
        elif whose == "ours" and file.read_text("utf-8", "surrogateescape") == text:
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
        """Take away a file of ours, and its folder when that is empty then. Whether nothing is left there."""
        whose = file_ownership(file)
        if whose == "absent":
            return True
        if whose != "ours" and not (whose == "edited" and self.replaces_edited):
            how = "was changed by hand" if whose == "edited" else "is not ours"
            more = " (say --replace to set it aside)" if whose == "edited" else ""
            self._echo(f"left as it is: {file} {how}{more}")
            return False
        if whose == "edited":
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
        """Make a folder with its parents where it is missing, for the one who runs the service."""
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        if not missing:
            return
        if self._dry_run:
            self._echo(f"would make {folder}")
            return
        try:
            for one in reversed(missing):
                one.mkdir(mode=0o700)
                if self._owner is not None:
                    os.chown(one, *self._owner)
        except OSError as error:
            raise IndexdError(f"cannot make {folder}: {error.strerror or error}") from None
        self._echo(f"made: {folder}")

    def run(self, *command: str, may_fail: bool = False) -> None:
        """Run a command. Raises IndexdError with what it said when it fails, unless it may."""
        if self._dry_run:
            self._echo(f"would run: {shlex.join(command)}")
            return
        done = self._run(command)
        if done.returncode and not may_fail:
            said = (done.stderr or done.stdout or "").strip() or f"exit code {done.returncode}"
            cure = next((f"; {cure}" for words, cure in REMEDIES.items() if words in said), "")
            raise IndexdError(f"`{shlex.join(command)}` failed: {said}{cure}")
        if not done.returncode:
            self._echo(f"ran: {shlex.join(command)}")

    def report(self, text: str) -> None:
        """Something that the person should know."""
        self._echo(text)

    def run_action(self, what: str, action: Callable[[], object]) -> None:
        """Something that is neither a file nor a command."""
        if self._dry_run:
            self._echo(f"would {what}")
            return
        action()
        self._echo(f"done: {what}")

    def _back_up_file(self, file: Path) -> None:
        aside = next(
            path
            for number in itertools.count(1)
            if not (path := file.with_name(f"{file.name}.yours-{number}")).exists()
        )
        self.run_action(f"set {file} aside as {aside.name}", lambda: file.rename(aside))
