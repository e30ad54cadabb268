"""The one form in which names are compared: file names, models, LoRAs, embeddings, characters.

Unicode has two spellings of an accented letter, composed (NFC) and decomposed (NFD, which macOS and some archives write).
They look the same, and are the same name here. The bytes of a file name are kept as they are.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def composed(text: str) -> str:
    """The text in composed form (NFC), with its letter case."""
    return unicodedata.normalize("NFC", text)


def name_key(name: str) -> str:
    """What equal names have in common: composed form, without letter case."""
    return composed(composed(name).casefold())


def existing_spelling(path: Path) -> Path:
    """The path as its folders spell it, where they hold it in the other Unicode form; else the path itself.

    Letter case counts: only the Unicode form may differ.
    """
    if os.path.lexists(path) or composed(str(path)) == unicodedata.normalize("NFD", str(path)):
        return path
    found = Path(path.anchor) if path.anchor else Path()
    for part in path.relative_to(path.anchor).parts:
        spelled = found / part
        if not os.path.lexists(spelled):
            try:
                names = os.listdir(found)
            except OSError:
                return path
            spelled = next((found / name for name in names if composed(name) == composed(part)), spelled)
            if not os.path.lexists(spelled):
                return path
        found = spelled
    return found
