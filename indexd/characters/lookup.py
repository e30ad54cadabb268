"""Finds characters by name or number, and faces by region or image."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from indexd.errors import NothingFound, UsageError
from indexd.search.query.image_lookup import find_image_row
from indexd.search.query.image_target import parse_target
from indexd.store.protocols import IndexStore
from indexd.store.records import FACE_LAYER, CharacterRow
from indexd_schemas.api.characters import FaceReference

MAX_SUGGESTED_NAMES = 3


def find_character(store: IndexStore, text: str) -> CharacterRow:
    """The character with this name, else with this number. Raises NothingFound with the most similar names."""
    row = store.characters.find_by_name(text)
    digits = text.removeprefix("#").strip()
    if row is None and digits.isascii() and digits.isdigit() and len(digits) < 19:
        row = store.characters.get(int(digits))
        if row is not None and row.merged_into is not None:
            raise NothingFound(f"character {row.id} was merged into {row.merged_into}")
    if row is None:
        names = {name.casefold(): name for name in store.characters.names().values()}
        near = difflib.get_close_matches(text.casefold(), names, n=MAX_SUGGESTED_NAMES, cutoff=0.5)
        hint = f"; did you mean {' or '.join(names[one] for one in near)}? `" if near else "; `"
        raise NothingFound(f"there is no character {text!r}{hint}indexd characters list` shows them")
    return row


def validate_character_name(name: str | None) -> str:
    """The unchanged name ("" removes a name). Raises UsageError when it is missing or invalid."""
    if name is None:
        raise UsageError("give the name")
    if not name.isprintable():
        raise UsageError(f"{name[:40]!r} is not a valid name: a name is one line without control characters")
    digits = name.strip().removeprefix("#")
    if digits.isascii() and digits.isdigit():
        raise UsageError(f"{name!r} reads as the number of a character; a name needs a letter")
    return name


def find_face_ids(
    store: IndexStore, references: Sequence[FaceReference], *, character_id: int | None = None
) -> list[int]:
    """The region ids of these faces. Of an image with several faces, `character_id` selects those of this character.

    Raises NothingFound for an unknown face and UsageError for an ambiguous reference.
    """
    found: dict[int, None] = {}
    for one in references:
        found.update(
            dict.fromkeys([one.region] if one.region is not None else _face_ids_of_image(store, one, character_id))
        )
    return list(found)


def _face_ids_of_image(store: IndexStore, reference: FaceReference, character_id: int | None) -> list[int]:
    if reference.target is None:
        raise UsageError("name a face by its number or by its image")
    target = parse_target(reference.target)
    row = find_image_row(store, target)
    if row is None:
        raise NothingFound(f"{target} is not in the index; `indexd explain` says why")
    faces = [region.id for region in store.faces.of_image(row.id) if region.region.kind == FACE_LAYER]
    if not faces:
        raise NothingFound(f"no face was found in {target}")
    if reference.number is not None:
        if reference.number > len(faces):
            raise NothingFound(f"{target} has {len(faces)} faces, not {reference.number}")
        return [faces[reference.number - 1]]
    if character_id is not None:
        members = store.characters.memberships_by_region(faces)
        owned = [face for face in faces if face in members and members[face].character_id == character_id]
        if owned:
            return owned
    if len(faces) > 1:
        raise UsageError(f"{target} has {len(faces)} faces; say which: {target}:1 is the largest")
    return faces
