"""Errors of this package."""

from __future__ import annotations


class UnreadableImage(Exception):
    """The bytes are not an image of a supported format, or a limit was reached; the text is the reason."""


class DuplicateReader(Exception):
    """Two modules register a reader under one name; the text names both."""
