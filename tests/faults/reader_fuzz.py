"""Mutated real files, read by real reader processes: deaths, ceilings reached and peak memory are counted.

python -m tests.faults.reader_fuzz --examples 5000 --seed 1
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from indexd.image_metadata.model import ImageFacts
from indexd.images.read_limits import CEILING_WORDS
from indexd.images.reader_client import ReaderClient
from indexd.worker.calls import WorkerSettings
from indexd.worker.local_workers import LocalWorkers
from tests.unit.image_metadata.test_mutated_files import FILE_BYTES_MAX, ORIGINALS, Mutation, mutate

BATCH_FILES = 32
MUTATIONS_MAX = 6


@dataclass(slots=True)
class FuzzReport:
    """`ceilings` and `faults` contain the reasons; `peak_bytes` is resident memory beyond that of an idle reader."""

    examples: int = 0
    read: int = 0
    refused: int = 0
    deaths: int = 0
    ceilings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    peak_bytes: int = 0


def fuzz_readers(examples: int, seed: int, folder: Path) -> FuzzReport:
    """Read so many mutated files in reader processes. `folder` holds the files of one batch at a time."""
    chance, report = random.Random(seed), FuzzReport()
    workers = LocalWorkers(WorkerSettings({}, str(folder / "cache")))
    reader = ReaderClient(workers)
    try:
        reader.read_batch([])
        idle_bytes = _peak_bytes(workers)
        while report.examples < examples:
            paths = []
            for number in range(min(BATCH_FILES, examples - report.examples)):
                path = folder / f"{number}.png"
                path.write_bytes(mutate(chance.choice(ORIGINALS), _mutations(chance)))
                paths.append(os.fsencode(path))
            for result in reader.read_batch(paths):
                _count(report, result)
            report.peak_bytes = max(report.peak_bytes, _peak_bytes(workers) - idle_bytes)
        report.deaths = sum(lane.deaths for lane in workers.status())
    finally:
        workers.stop(0.0)
    return report


def _mutations(chance: random.Random) -> list[Mutation]:
    kinds = ("change", "cut", "repeat", "insert", "move")
    return [
        (
            chance.choice(kinds),
            chance.randrange(FILE_BYTES_MAX),
            chance.randint(1, 300),
            chance.choice((b"\0", b"\xff", b"\x7f\xff\xff\xff", chance.randbytes(chance.randint(1, 8)))),
        )
        for _ in range(chance.randint(1, MUTATIONS_MAX))
    ]


def _count(report: FuzzReport, result: object) -> None:
    report.examples += 1
    is_read = isinstance(result, ImageFacts)
    reason = (
        (result.metadata.problem or "") if isinstance(result, ImageFacts) else str(getattr(result, "reason", result))
    )
    report.read += is_read
    report.refused += not is_read
    if CEILING_WORDS in reason:
        report.ceilings.append(reason)
    if "failed" in reason:
        report.faults.append(reason)


def _peak_bytes(workers: LocalWorkers) -> int:
    """The largest peak of resident memory of the processes that live; 0 where the system does not tell (not Linux)."""
    peak = 0
    for lane in workers.status():
        status = Path(f"/proc/{lane.pid}/status")
        if lane.pid is not None and status.exists():
            stated = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
            peak = max(peak, *(int(one) << 10 for one in stated))
    return peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz_readers(asked.examples, asked.seed, Path(folder))
    lines = (
        f"{report.examples} files: {report.read} read, {report.refused} refused with a reason",
        f"deaths {report.deaths}, ceilings {len(report.ceilings)}, faults {len(report.faults)}",
        f"peak memory {report.peak_bytes >> 20} MiB beyond an idle reader",
        *report.ceilings[:10],
        *report.faults[:10],
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(report.deaths or report.ceilings or report.faults))


if __name__ == "__main__":
    sys.exit(main())
