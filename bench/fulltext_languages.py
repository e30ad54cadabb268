"""Full text over prompts of many languages: time of a query, and size of the index.

Half of the made-up prompts are English; the others are Chinese, Japanese, Korean, Thai and mixed with emoji and full-width letters
(bench/support/synthetic_prompts.py). Queries ask for frequent and rare words, pieces of words, phrases across words and single
characters. The same run measures SQLite's `unicode61` tokenizer on the texts as they are: it finds whole runs only.

    python -m bench.fulltext_languages --images 1000000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw

from bench.support.report import p50_p95, print_result
from bench.support.synthetic_prompts import Lexicon, lexicons, prompts
from indexd.image_metadata.model import ImageMetadata
from indexd.store.sqlite.library.fulltext import INSERT_FULLTEXT_SQL, fulltext_row
from indexd.store.sqlite.store import SqliteStore

BATCH = 2000
REPEATS = 7
HITS = 1000
NEGATIVE = "bad hands, blurry"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build both indexes, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    asked = parser.parse_args(arguments)
    known = lexicons()
    with tempfile.TemporaryDirectory(prefix="indexd-bench-") as folder:
        plain_bytes = _plain_bytes(Path(folder) / "plain.db", known, asked.images)
        with SqliteStore.open(Path(folder) / "index.db") as store:
            _fill(store, known, asked.images)
            print_result(
                "size of the full text", _fulltext_bytes(store.path) / 1e6, "MB", plain_bytes / 1e6, "unicode61"
            )
            _measure(store, known)


def _fill(store: SqliteStore, known: dict[str, Lexicon], images: int) -> None:
    seconds = 0.0
    for start in range(0, images, BATCH):
        texts = list(prompts(known, start, min(BATCH, images - start)))
        began = time.perf_counter()
        rows = [
            fulltext_row(start + at, ImageMetadata(prompt=text, negative_prompt=NEGATIVE), f"{start + at:07}.png")
            for at, text in enumerate(texts, 1)
        ]
        with store._database.write() as connection:
            connection.executemany(INSERT_FULLTEXT_SQL, rows)
        seconds += time.perf_counter() - began
    print_result("texts indexed", images / seconds, "images/s")


def _plain_bytes(path: Path, known: dict[str, Lexicon], images: int) -> int:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = wal; PRAGMA synchronous = off").fetchall()
    connection.execute(
        "CREATE VIRTUAL TABLE prompt_fts USING fts5 (prompt, negative, tags, captions, file_name, raw_prompt,"
        " content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2')"
    )
    for start in range(0, images, BATCH):
        texts = prompts(known, start, min(BATCH, images - start))
        with connection:
            connection.executemany(
                INSERT_FULLTEXT_SQL,
                [(start + at, text, NEGATIVE, "", f"{start + at:07}.png") for at, text in enumerate(texts, 1)],
            )
    connection.close()
    return _fulltext_bytes(path)


def _fulltext_bytes(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    size = connection.execute("SELECT sum(length(block)) FROM prompt_fts_data").fetchall()[0][0]
    connection.close()
    assert isinstance(size, int)
    return size


def _queries(known: dict[str, Lexicon]) -> Iterator[tuple[str, list[str]]]:
    """Kinds of queries with examples of every language."""
    joined = {name: lexicon.words for name, lexicon in known.items() if name != "en"}
    yield "English words", [known["en"].words[rank] for rank in (0, 10, 100, 1000, 10_000)]
    yield "frequent words", [words[rank] for words in joined.values() for rank in range(5)]
    yield "rare words", [words[rank] for words in joined.values() for rank in (300, 1000, 3000, 7000)]
    pieces = [
        next(word for word in words[rank:] if len(word) > 2) for words in joined.values() for rank in (0, 100, 1000)
    ]
    yield "pieces of words", [word[1:] for word in pieces]
    yield "phrases across words", [words[rank] + words[0] for words in joined.values() for rank in range(5)]
    yield "single characters", [words[rank][0] for words in joined.values() for rank in (0, 3, 30, 300)]
    yield "emoji and full width", ["🌀", "🌃", "👀", "ＡＢ１２", "ab12"]


def _measure(store: SqliteStore, known: dict[str, Lexicon]) -> None:
    for kind, queries in _queries(known):
        seconds = [best for query in queries for best in _times(lambda text=query: store.fulltext.match(text, HITS))]  # type: ignore[misc]
        found = sum(bool(store.fulltext.match(query, 1)) for query in queries)
        p50, p95 = p50_p95(seconds)
        print_result(f"{kind} ({found} of {len(queries)} found), p50", 1e3 * p50, "ms")
        print_result(f"{kind}, p95", 1e3 * p95, "ms", bar="<= 50 ms")


def _times(call: Callable[[], object]) -> list[float]:
    call()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
