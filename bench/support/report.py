"""Output of all benchmarks: our figure, the peer's or the physical limit's from the same run, the ratio, the bar."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def print_result(
    what: str, ours: float, unit: str, limit: float | None = None, limit_name: str = "", bar: str = ""
) -> None:
    """Print one result: `what  ours unit | limit_name limit unit | ratio | bar`."""
    parts = [f"{what:<52} {ours:>10.3f} {unit}"]
    if limit is not None:
        parts.append(f"{limit_name} {limit:.3f} {unit}")
        parts.append(f"ratio {ours / limit:.2f}" if limit else "ratio -")
    if bar:
        parts.append(f"bar {bar}")
    print(" | ".join(parts), flush=True)


def per_second(count: int, work: Callable[[], object]) -> float:
    """Rate of `work`, which processes `count` items."""
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def p50_p95(values: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    return statistics.median(values), percentile(values, 0.95)
