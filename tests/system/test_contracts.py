"""Contracts: built when they are first used, whoever comes first."""

from __future__ import annotations

import json
import subprocess
import sys

FIRST_USE = """
import json, sys, threading
from pydantic import BaseModel
from indexd_schemas.api import annotations, library_reports, output, responses
from indexd_schemas.jobs import job
from indexd_schemas.contract import Contract

def all_below(model):
    return {model, *(found for below in model.__subclasses__() for found in all_below(below))} - {Contract}

built = sorted(f"{model.__module__}.{model.__name__}" for model in all_below(Contract) if model.__pydantic_complete__)
asked = {"kind": "txt2img", "prompt": "a lighthouse", "loras": ["soft"], "detail": ["face"], "seeds": "1..3"}
answers, together = [], threading.Barrier(16)

def ask():
    together.wait()
    try:
        answers.append(job.Txt2ImgJob.model_validate(asked).model_dump_json(exclude_unset=True))
    except Exception as error:
        answers.append(repr(error))

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=ask) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"models": len(all_below(Contract)), "built": built, "answers": answers}))
"""


def test_importing_the_contracts_builds_none_and_sixteen_threads_may_be_the_first_to_use_one() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert found["models"] > 80
    assert found["built"] == []
    assert len(found["answers"]) == 16
    (answer,) = set(found["answers"])
    assert json.loads(answer)["seeds"] == [1, 2, 3]
