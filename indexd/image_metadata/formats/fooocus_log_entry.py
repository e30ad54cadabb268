"""The entry of one image in the `log.html` of Fooocus: a table of keys and values, in newer versions also JSON on a button.

The table escapes nothing, so a text is everything between two cells; line ends are `</br>`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from indexd.image_metadata import coerce

ROWS_MAX = 200

_BUTTON = re.compile(r"to_clipboard\('([^'<>]{1,200000})'\)")
_ROW = re.compile(
    r"<td class=[\"'](?:key|label)[\"']>([^<>]{1,200})</td>\s{0,20}<td class=[\"']value[\"']>(.*?)</td>", re.DOTALL
)
_BREAK = re.compile(r" ?</?br ?/?> ?")


def parse_log_entry(entry: str) -> dict[str, Any]:
    """The settings by the names that the log gives them; empty where the entry has none. LoRAs are numbered."""
    if (button := _BUTTON.search(entry)) and (found := coerce.as_object(coerce.parse_json(unquote(button[1])))):
        return found
    given: dict[str, Any] = {}
    loras = 0
    for number, row in enumerate(_ROW.finditer(entry)):
        if number >= ROWS_MAX:
            break
        key, value = row[1].strip(), _BREAK.sub("\n", row[2]).strip()
        if key == "LoRA":
            loras += 1
            key = f"LoRA {loras}"
        given.setdefault(key, value)
    return given
