"""How much of a machine one file may use while it is read: every loop over what a file states takes from a budget.

A bound at one place would miss the next format. What is beyond a budget is left out and named in `problem`; the file is
read all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

TEXT_BYTES_MAX = 16 << 20
"""One text; a ComfyUI workflow with embedded images reaches megabytes, and this is more than any seen."""
TEXTS_BYTES_MAX = 32 << 20
"""All texts of one file together."""
INFLATED_BYTES_MAX = 64 << 20
"""All that is decompressed of one file, the damaged streams included."""
CHUNK_COUNT_MAX = 512
DIRECTORY_ENTRIES_MAX = 20_000
"""TIFF entries of one file, of all its EXIF blocks; overlapping directories count each time."""
JSON_VALUES_MAX = 400_000
"""Values in the JSON texts of one file, counted by its brackets and commas before it is parsed. A value takes up to 240
bytes of memory; the largest workflow seen has 60 000."""
PROBLEMS_MAX = 8
PROBLEM_CHARACTERS_MAX = 1_000


@dataclass(slots=True)
class ReadBudget:
    """The remaining limits for one file. `take_text` and the like use some; False = not enough was left, so none was used."""

    text_bytes: int = TEXTS_BYTES_MAX
    inflated_bytes: int = INFLATED_BYTES_MAX
    chunks: int = CHUNK_COUNT_MAX
    directory_entries: int = DIRECTORY_ENTRIES_MAX
    json_values: int = JSON_VALUES_MAX
    is_json_refused: bool = False

    def take_text(self, byte_count: int) -> bool:
        """One text of so many bytes."""
        if not self.has_room_for_text(byte_count):
            return False
        self.text_bytes -= byte_count
        self.chunks -= 1
        return True

    def has_room_for_text(self, byte_count: int) -> bool:
        """Whether one text of so many bytes could be taken; asked before its bytes are read."""
        return byte_count <= min(TEXT_BYTES_MAX, self.text_bytes) and self.chunks > 0

    def take_inflated(self, byte_count: int) -> None:
        """So many bytes were decompressed."""
        self.inflated_bytes -= byte_count

    @property
    def inflatable_bytes(self) -> int:
        """How much of one stream may be decompressed: one byte more than may be kept, so that too much is noticed."""
        return max(0, min(TEXT_BYTES_MAX, self.text_bytes, self.inflated_bytes)) + 1

    def take_directory_entries(self, count: int) -> int:
        """Take up to `count` entries; how many there were."""
        taken = max(0, min(count, self.directory_entries))
        self.directory_entries -= taken
        return taken

    def take_json(self, text: str) -> bool:
        """A JSON text, by the number of its values."""
        count = text.count(",") + text.count("[") + text.count("{") + 1
        if count > self.json_values:
            self.is_json_refused = True
            return False
        self.json_values -= count
        return True


def add_problem(problems: list[str], text: str) -> None:
    """Note what could not be read, once, and not more than PROBLEMS_MAX of them; a file may repeat a fault a million times."""
    text = text[:200]
    if text not in problems and len(problems) < PROBLEMS_MAX:
        problems.append(text)
