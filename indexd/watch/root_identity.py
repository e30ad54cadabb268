"""Is the folder there, and is it the one that was indexed? Only then may its files be called missing."""

from __future__ import annotations

import shlex
from typing import Literal

from indexd.fs.paths import display
from indexd.watch.roots import ForeignRoot, RootProbe, probe_root

IdentityCheck = Literal["same", "offline", "replaced"]
_UNPROBED = RootProbe(None, "not looked at yet")


class RootIdentity:
    """What lies at one root's path, and under which identity (device:inode) its files are known.

    A folder with another identity is taken for the indexed one when a scan finds at least half of the known files in
    it: a mount point without its mount, into which some program goes on writing, must not pass for the library, while a
    disk that comes back under another device number must. What is written into a stranger is indexed too, and must not
    vouch for it however much it becomes: only the files that were known when it came count.
    """

    def __init__(self, path: bytes, trusted: str | None, stranger: ForeignRoot | None = None) -> None:
        self._path = path
        self.trusted_identity = trusted
        self.foreign_root = stranger
        self._probe = _UNPROBED
        self._foreign_reason = ""

    @property
    def is_present(self) -> bool:
        """Whether there is a folder to watch and scan, ours or another one."""
        return self._probe.identity is not None

    @property
    def is_online(self) -> bool:
        """Whether the files of the index can be expected there."""
        return self.is_present and not self._foreign_reason

    @property
    def reason(self) -> str:
        """Why it is offline, for people; empty when all is well."""
        return self._probe.problem or self._foreign_reason

    def check(self) -> IdentityCheck:
        """Look again. "replaced": there is a folder now, and it is not the one of the last look."""
        before, self._probe = self._probe, probe_root(self._path)
        if self._probe.identity is None:
            self._foreign_reason = ""
            return "offline"
        return "same" if self._probe.identity == before.identity else "replaced"

    def reset(self) -> None:
        """What lies there counts as never looked at: the next look finds a folder that came."""
        self._probe = _UNPROBED

    def is_unchanged(self) -> bool:
        """Whether the folder of the last look lies there still."""
        return probe_root(self._path).identity == self._probe.identity

    def is_indexed_root(self) -> bool:
        """Whether at this moment the folder is the one whose files are known."""
        return self.trusted_identity is not None and probe_root(self._path).identity == self.trusted_identity

    def note_foreign_root(self, known: int) -> None:
        """Before a full scan, when `known` files are known: note a folder that came, and that they are not from it.

        Its files are indexed while it is compared. Whoever ended in the middle of that must not take them for ours later.
        """
        here = self._probe.identity
        if here is None or self.trusted_identity is None or here == self.trusted_identity:
            return
        if self.foreign_root is None or self.foreign_root.identity != here:
            self.foreign_root = ForeignRoot(here, self._known_before_foreign_root(known))

    def verify(self, known: int, present: int) -> bool:
        """After a full scan that saw `present` of `known` files: adopt the folder, or call it a stranger.

        False: what lies there now is not what was looked at when the scan began, so it says nothing of either.
        """
        here = self._probe.identity
        if not self.is_unchanged():
            return False
        held, ours = self._known_before_foreign_root(known), present
        if self.foreign_root is not None and here == self.foreign_root.identity:
            # What was indexed since it came lies in it, so whatever is not there is ours.
            ours = max(0, held - (known - present))
        if here is None or here == self.trusted_identity or ours * 2 >= held:
            self.trusted_identity = here
            self.foreign_root = None
            self._foreign_reason = ""
            return True
        self.foreign_root = ForeignRoot(here, held)
        what = "an empty folder or one without the indexed files" if not ours else "another folder"
        folder = shlex.quote(display(self._path))
        self._foreign_reason = (
            f"{what} is in its place ({ours} of {held} indexed files are there); nothing is marked missing;"
            f" if they are gone for good: indexd forget --under {folder} --offline"
        )
        return True

    def _known_before_foreign_root(self, known: int) -> int:
        """How many of the known files are from before any stranger came."""
        return known if self.foreign_root is None else min(self.foreign_root.known_files, known)
