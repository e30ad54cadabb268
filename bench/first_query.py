"""First answer to a text query, with the worker not running and running, compared with the plain library.

The plain library is a new process that imports open_clip, loads the same model and encodes the same text: the cost of a
script without a daemon. Its second encoding is the limit of the running worker.
"""

from __future__ import annotations

import time

from bench.support import homes, report
from indexd import config
from indexd.api.connect import connect
from indexd.api.operations.images import query
from indexd.api.operations.registry import Operations
from indexd.demo.daemon_process import DaemonProcess, is_settled
from indexd_schemas.api.requests import SearchRequest, SearchTerm

IMAGES = 50
RUNS = 20

BARE_PROGRAM = """
import sys, time
begin = time.perf_counter()
import open_clip, torch
torch.set_num_threads(1)
model, _, _ = open_clip.create_model_and_transforms("local-dir:" + sys.argv[1])
tokenizer = open_clip.get_tokenizer("local-dir:" + sys.argv[1])
model.eval()
def encode(words):
    with torch.inference_mode():
        return model.encode_text(tokenizer([words]))
encode("a red star")
cold = time.perf_counter() - begin
times = []
for number in range(20):
    begin = time.perf_counter()
    encode(f"a red star {number}")
    times.append(time.perf_counter() - begin)
print(cold, sorted(times)[10])
"""

SETTINGS = """\
[models.clip_h]
path = "{clip_h}"
device = "cpu"
keep_alive = "never"
[generate]
threads = 1
"""


def main() -> None:
    with homes.temporary_home() as home:
        clip_h = homes.tiny_model(home / "models", "clip_h")
        (home / "indexd.toml").write_text(SETTINGS.format(clip_h=clip_h), "utf-8")
        homes.write_files(home / "output", IMAGES)
        with DaemonProcess(home) as daemon:
            daemon.wait_until("the embeddings", lambda status: status.images == IMAGES and is_settled(status), 180)
        with DaemonProcess(home):
            operations = connect(config.read_config(home), need_daemon=True)
            cold = _query_seconds(operations, "a red star")
            warm = sorted(_query_seconds(operations, f"a red star number {number}") for number in range(RUNS))
        bare = homes.run_python(BARE_PROGRAM, clip_h).split()
        report.print_result(
            "first text query, worker not running", cold, "s", float(bare[0]), "plain library, new process"
        )
        report.print_result(
            "first text query, worker running, p50",
            1000 * warm[RUNS // 2],
            "ms",
            1000 * float(bare[1]),
            "plain encoding",
        )


def _query_seconds(operations: Operations, words: str) -> float:
    begin = time.perf_counter()
    answer = operations.call(query, SearchRequest(terms=(SearchTerm(kind="text", value=words),)))
    if not answer.hits:
        raise SystemExit(f"nothing was found: {answer.notes}")
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
