"""Is the folder there, and is it the one that was indexed? Only then may its files be called missing."""

from __future__ import annotations

import shlex
from typing import Literal

from indexd.watch.paths import display
from indexd.watch.roots import Place, Stranger, examine

Verdict = Literal["same", "offline", "replaced"]
_UNSEEN = Place(None, "not looked at yet")


class Standing:
    """What lies at one root's path, and under which identity (device:inode) its files are known.

    A folder with another identity is taken for the indexed one when a scan finds at least half of the known files in
    it: a mount point without its mount, into which some program goes on writing, must not pass for the library, while a
    disk that comes back under another device number must. What is written into a stranger is indexed too, and must not
    vouch for it however much it becomes: only the files that were known when it came count.
    """

    def __init__(self, path: bytes, trusted: str | None, stranger: Stranger | None = None) -> None:
        self._path = path
        self.trusted = trusted
        self.stranger = stranger
        self._place = _UNSEEN
        self._stranger = ""

    @property
    def is_there(self) -> bool:
        """Whether there is a folder to watch and scan, ours or another one."""
        return self._place.identity is not None

    @property
    def online(self) -> bool:
        """Whether the files of the index can be expected there."""
        return self.is_there and not self._stranger

    @property
    def reason(self) -> str:
        """Why it is offline, for people; empty when all is well."""
        return self._place.problem or self._stranger

    def check(self) -> Verdict:
        """Look again. "replaced": there is a folder now, and it is not the one of the last look."""
        before, self._place = self._place, examine(self._path)
        if self._place.identity is None:
            self._stranger = ""
            return "offline"
        return "same" if self._place.identity == before.identity else "replaced"

    def forget(self) -> None:
        """What lies there counts as never looked at: the next look finds a folder that came."""
        self._place = _UNSEEN

    def is_unchanged(self) -> bool:
        """Whether the folder of the last look lies there still."""
        return examine(self._path).identity == self._place.identity

    def may_mark(self) -> bool:
        """Whether at this moment the folder is the one whose files are known."""
        return self.trusted is not None and examine(self._path).identity == self.trusted

    def expect(self, known: int) -> None:
        """Before a full scan, when `known` files are known: note a folder that came, and that they are not from it.

        Its files are indexed while it is compared. Whoever ended in the middle of that must not take them for ours later.
        """
        here = self._place.identity
        if here is None or self.trusted is None or here == self.trusted:
            return
        if self.stranger is None or self.stranger.identity != here:
            self.stranger = Stranger(here, self._held(known))

    def judge(self, known: int, present: int) -> bool:
        """After a full scan that saw `present` of `known` files: adopt the folder, or call it a stranger.

        False: what lies there now is not what was looked at when the scan began, so it says nothing of either.
        """
        here = self._place.identity
        if not self.is_unchanged():
            return False
        held, ours = self._held(known), present
        if self.stranger is not None and here == self.stranger.identity:
            # What was indexed since it came lies in it, so whatever is not there is ours.
            ours = max(0, held - (known - present))
        if here is None or here == self.trusted or ours * 2 >= held:
            self.trusted = here
            self.stranger = None
            self._stranger = ""
            return True
        self.stranger = Stranger(here, held)
        what = "an empty folder or one without the indexed files" if not ours else "another folder"
        folder = shlex.quote(display(self._path))
        self._stranger = (
            f"{what} is in its place ({ours} of {held} indexed files are there); nothing is marked missing;"
            f" if they are gone for good: indexd forget --under {folder} --offline"
        )
        return True

    def _held(self, known: int) -> int:
        """How many of the known files are from before any stranger came."""
        return known if self.stranger is None else min(self.stranger.held, known)
