"""What the daemon adds to a job: a dropped 20-picture job against the same 20 calls of the bare pipeline in one process.

Both have the model loaded before the clock starts, run on the CPU with the same number of threads, and make the same
pictures (same prompt, seeds, sampler). The daemon's time runs from the drop of the YAML to its result file: settling,
admission, the ledger, PNG with metadata, publishing with fsync, and the indexing that goes on beside it are all in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from bench import homes, report
from indexd.demo.daemon_process import DaemonProcess

BARE = """
import sys, time, json, torch
from diffusers import StableDiffusionXLPipeline, EulerDiscreteScheduler
folder, size, steps, count, threads = sys.argv[1], *map(int, sys.argv[2:6])
torch.set_num_threads(threads)
pipe = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
pipe.set_progress_bar_config(disable=True)
def make(seed):
    return pipe("a red star over the sea", negative_prompt="text", width=size, height=size, num_inference_steps=steps,
                guidance_scale=6.0, generator=torch.Generator("cpu").manual_seed(seed)).images[0]
make(0)
begin = time.perf_counter()
for seed in range(count):
    make(seed)
print(time.perf_counter() - begin)
"""

SETTINGS = """\
[watch]
settle_seconds = 0.3
[models.sdxl]
path = "{sdxl}"
keep_alive = "never"
[generate]
threads = {threads}
"""


def main() -> None:
    """Run the benchmark and print its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with homes.home() as home:
        program = "import sys, pathlib; from indexd.demo.models import build_models; print(build_models(pathlib.Path(sys.argv[1])).sdxl)"
        sdxl = subprocess.run(
            [sys.executable, "-c", program, str(home / "models")], capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        (home / "indexd.toml").write_text(SETTINGS.format(sdxl=sdxl, threads=options.threads), "utf-8")
        with DaemonProcess(home) as daemon:
            _job(daemon, home, "warm", options, seeds="0..0")
            ours, bare = [], []
            for number in range(options.rounds):
                ours.append(_job(daemon, home, f"round{number}", options, seeds=f"0..{options.pictures - 1}"))
                arguments = [sdxl, *map(str, (options.size, options.steps, options.pictures, options.threads))]
                done = subprocess.run(
                    [sys.executable, "-c", BARE, *arguments], capture_output=True, text=True, check=True
                )
                bare.append(float(done.stdout.splitlines()[-1]))
        what = f"{options.pictures} pictures of {options.size} px, {options.steps} steps"
        report.line(
            what, sorted(ours)[len(ours) // 2], "s", sorted(bare)[len(bare) // 2], "bare pipeline", "ratio <= 1.05"
        )


def _job(daemon: DaemonProcess, home: Path, name: str, options: argparse.Namespace, seeds: str) -> float:
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
    # What the pictures lead to (thumbnails, no embeddings here) must not run into the next round.
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
