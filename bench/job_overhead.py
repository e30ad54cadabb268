"""Overhead of the daemon: a job of 20 images against the same 20 calls of the plain pipeline in one process.

Both load the model before the clock starts, use the same number of CPU threads, and render the same images (prompt, seeds,
sampler). The daemon's time runs from the job file to its result file. It includes settling, admission, ledger, PNG with
metadata, publishing with fsync, and concurrent indexing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import psutil

from bench.support import homes, report
from indexd.demo.daemon_process import DaemonProcess

BARE_PROGRAM = """
import sys, time, json, torch
from diffusers import StableDiffusionXLPipeline, EulerDiscreteScheduler
folder, size, steps, count, threads = sys.argv[1], *map(int, sys.argv[2:6])
torch.set_num_threads(threads)
pipe = StableDiffusionXLPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
pipe.set_progress_bar_config(disable=True)
def make(seed):
    return pipe("a red star over the sea", negative_prompt="text", width=size, height=size, num_inference_steps=steps,
                guidance_scale=6.0, generator=torch.Generator("cpu").manual_seed(seed)).images[0]
make(0)
begin, cpu = time.perf_counter(), time.process_time()
for seed in range(count):
    make(seed)
print(time.perf_counter() - begin, time.process_time() - cpu)
"""

SETTINGS = """\
[watch]
settle_seconds = 0.3
[models.generator]
path = "{sdxl}"
keep_alive = "never"
[generate]
threads = {threads}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    what = f"{options.images} images of {options.size} px, {options.steps} steps"
    with homes.temporary_home() as home:
        sdxl = homes.tiny_model(home / "models", "sdxl")
        (home / "indexd.toml").write_text(SETTINGS.format(sdxl=sdxl, threads=options.threads), "utf-8")
        with DaemonProcess(home) as daemon:
            _run_job(daemon, home, "warm", options, seeds="0..0")
            pairs = []
            for number in range(options.rounds):
                cpu = _cpu_seconds(daemon)
                wall = _run_job(daemon, home, f"round{number}", options, seeds=f"0..{options.images - 1}")
                ours = wall, _cpu_seconds(daemon) - cpu
                arguments = [sdxl, *map(str, (options.size, options.steps, options.images, options.threads))]
                bare = tuple(map(float, homes.run_python(BARE_PROGRAM, *arguments).splitlines()[-1].split()))
                report.print_result(f"{what}, wall", ours[0], "s", bare[0], "plain pipeline")
                report.print_result(f"{what}, CPU of daemon and worker", ours[1], "s", bare[1], "plain pipeline")
                pairs.append((ours[0] / bare[0], ours[1] / bare[1]))
        # The machine's speed drifts between rounds, so compare pairs, not totals.
        report.print_result(
            "median of the pairs' wall ratios", statistics.median(wall for wall, _ in pairs), "x", bar="<= 1.05"
        )
        report.print_result("median of the pairs' CPU ratios", statistics.median(cpu for _, cpu in pairs), "x")


def _cpu_seconds(daemon: DaemonProcess) -> float:
    """CPU seconds of the daemon and its running workers; exited workers are not included."""
    whole = psutil.Process(daemon.pid)
    times = [process.cpu_times() for process in (whole, *whole.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _run_job(daemon: DaemonProcess, home: Path, name: str, options: argparse.Namespace, seeds: str) -> float:
    job = {
        "kind": "txt2img",
        "prompt": "a red star over the sea",
        "negative_prompt": "text",
        "seeds": seeds,
        "size": f"{options.size}x{options.size}",
        "steps": options.steps,
        "cfg": 6.0,
        "sampler": "Euler",
    }
    result = home / "inbox" / "done" / f"{name}.result.json"
    partial = home / "inbox" / f".{name}.tmp"
    partial.write_text(json.dumps(job), "utf-8")  # JSON is YAML
    begin = time.perf_counter()
    partial.rename(home / "inbox" / f"{name}.yaml")
    while not result.exists():
        if time.perf_counter() - begin > 900:
            raise SystemExit(f"{name} did not end; see {daemon.log}")
        time.sleep(0.01)
    seconds = time.perf_counter() - begin
    # Thumbnails of these images must not overlap the next round.
    daemon.wait_until(
        "quiet",
        lambda status: (
            not any(sum(states.values()) for stage, states in status.pending.items() if stage == "thumbnail")
        ),
        60,
    )
    return seconds


if __name__ == "__main__":
    main()
