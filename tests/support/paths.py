"""Folders that tests read: the repository, its tests, and the shared corpora where they are present."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent
DOCS = REPOSITORY / "docs"
SHARED_CORPUS = REPOSITORY.parent / "shared" / "corpus"
SHARED_CASES = REPOSITORY.parent / "shared" / "cases"
COMFYUI_NUMBERS = TESTS / "models" / "generate" / "comfyui_numbers.json"
