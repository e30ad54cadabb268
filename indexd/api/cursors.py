"""Opaque cursors: where the next page of a list begins."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from indexd.errors import UsageError
from indexd_schemas.api.output import SearchResults
from indexd_schemas.api.requests import MAX_LIMIT, SearchRequest

if TYPE_CHECKING:
    from indexd.search.search import Search


# So many hits of a page may go before the next page falls back to counting.
ANCHORS = 8


def encode_cursor(kind: str, *numbers: int) -> str:
    """A cursor of one kind of list; URL-safe text."""
    return base64.urlsafe_b64encode(json.dumps([kind, *numbers]).encode()).decode()


def decode_cursor(kind: str, cursor: str, at_least: int = 1) -> list[int]:
    """The numbers of a cursor, so many at least. Raises UsageError when it belongs to another list."""
    try:
        found: object
        numbers: list[int]
        found, *numbers = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if found == kind and len(numbers) >= at_least and all(type(one) is int and 0 <= one < 2**63 for one in numbers):
            return numbers
    except (ValueError, TypeError):
        pass
    raise UsageError("the cursor is not one of this list; leave it out to start at the first page")


def search_page(search: Search, request: SearchRequest, newest_id: int) -> SearchResults:
    """One page of a search. `newest_id` is the highest image id now.

    The cursor holds the highest id at the time of the first page, so that later images do not shift the pages; how many hits
    came before; and the last hits, after which the next page begins (several, because images may go). A page repeats the
    search for all hits up to its end, so a later page costs more. A full page has a cursor; the page after it may be empty.
    """
    kind = f"query {_digest(request)}"
    offset, last_ids = 0, list[int]()
    if request.cursor is not None:
        newest_id, offset, *last_ids = decode_cursor(kind, request.cursor, at_least=2)
    # Exactly as many as the page needs: the limit decides which hits are sorted and what the notes count.
    searched = wanted = min(offset + request.limit, MAX_LIMIT)
    while True:
        results = search.query(request.model_copy(update={"limit": min(searched, MAX_LIMIT), "cursor": None}))
        hits = [hit for hit in results.hits if hit.image.id <= newest_id]
        # Newer images took places among those that were searched for: search for more, until enough older ones are found.
        if len(hits) >= wanted or len(results.hits) < searched or searched >= MAX_LIMIT:
            break
        searched *= 2
    found = [index + 1 for index, hit in enumerate(hits) if hit.image.id in last_ids]
    start = max(found, default=min(offset, len(hits)))
    page = [
        hit.model_copy(update={"rank": offset + number})
        for number, hit in enumerate(hits[start : start + request.limit], 1)
    ]
    anchors = [hit.image.id for hit in page[-ANCHORS:]]
    next_cursor = encode_cursor(kind, newest_id, offset + len(page), *anchors) if len(page) == request.limit else None
    return results.model_copy(update={"hits": page, "next": next_cursor})


def _digest(request: SearchRequest) -> str:
    """Identifies the search: the same for every page of it."""
    text = request.model_copy(update={"cursor": None, "limit": 1, "explain": False}).model_dump_json()
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
