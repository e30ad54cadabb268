"""Score and keep: what is not kept goes to `rejected/`, exactly once, wherever the process dies in between."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

import pytest

from indexd.errors import JobRefused
from indexd.jobs.admission.scoring import ScoreValidator, items_to_reject
from indexd.jobs.files.atomic import FaultHook, no_fault
from indexd.jobs.parsing.validation import FieldError
from indexd.store.records import JobItemRow
from indexd_schemas.job_state import JobState
from indexd_schemas.jobs.job import Txt2ImgJob
from indexd_schemas.jobs.scoring import Keep, is_within_limit, keep_count
from tests.unit.jobs.conftest import JobSetup, OpenSetup

# Scores follow from the seed: 105 -> clip .05, aesthetic 5, sharpness 105.
JOB = "kind: txt2img\nprompt: a\nseeds: [105, 109, 101, 107]\nsize: 64x64\nscore: [sharpness]\n"


class Died(BaseException):
    """The process ended here."""


def item(number: int, **scores: float) -> JobItemRow:
    return JobItemRow(number, 1, number, number, b"/x", {}, JobState.DONE, 1, 0.0, None, b"h", 1.0, {}, None, scores)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ({"top": 1}, {3}),
        ({"top": "10%"}, {3}),
        ({"top": "50%"}, {1, 3}),
        ({"top": 2, "by": "aesthetic"}, {0, 1}),
        ({"clip": ">=0.3"}, {1, 2, 3}),
        ({"clip": ">0.3"}, {1, 3}),
        ({"clip": 0.3, "aesthetic": "<5"}, {2, 3}),
        ({"top": 3, "clip": ">=0.4"}, {1, 3}),
        ({"top": "100%"}, {0, 1, 2, 3}),
    ],
)
def test_the_verdict(keep: dict[str, object], kept: set[int]) -> None:
    items = [
        item(0, clip=0.1, aesthetic=6), item(1, clip=0.4, aesthetic=5), item(2, clip=0.3, aesthetic=4),
        item(3, clip=0.5, aesthetic=1),
    ]  # fmt: skip
    gone = items_to_reject([*items, item(4)], Keep.model_validate(keep), "clip")
    assert {one.index for one in items} - {one.index for one in gone} == kept
    assert all(one.index != 4 for one in gone)  # what has no scores is not judged


def test_limits_and_shares() -> None:
    assert is_within_limit(0.25, ">=0.25")
    assert not is_within_limit(0.25, ">0.25")
    assert is_within_limit(-1, "<0")
    assert [keep_count("10%", count) for count in (1, 10, 11, 30)] == [1, 1, 2, 3]
    assert keep_count(5, 3) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("score: [sharp]", "score[0]: must be 'clip', 'aesthetic' or 'sharpness'"),
        ("score: [clip]", "score: clip needs the model clip_h"),
        ("keep: {top: 3}", "keep: images are kept by their scores; name them under `score`"),
        ("score: [sharpness]\nkeep: {clip: 0.3}", "keep.clip: the score clip is not under `score`"),
        ("score: [sharpness]\nkeep: {top: 3, by: clip}", "keep.by: the score clip is not under `score`"),
        ("score: [sharpness]\nkeep: {top: 0}", "keep.top: must be at least 1"),
        ("score: [sharpness]\nkeep: {top: 120%}", "a share such as 10%"),
        ("score: [sharpness]\nkeep: {sharpness: big}", "must be a limit such as"),
        ("score: [sharpness]\nkeep: {}", "keep: needs `top`"),
    ],
)
def test_what_cannot_be_judged_is_refused(setup: JobSetup, text: str, sentence: str) -> None:
    with pytest.raises(JobRefused) as refused:
        setup.jobs.submit(f"kind: txt2img\nprompt: a\n{text}\n".encode(), "x.yaml")
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"weight": (1, 8), "bias": (1,)}, None),
        ({"layers.10.weight": (1, 4), "layers.2.weight": (4, 8), "layers.2.bias": (4,)}, None),
        (
            {"weight": (1, 768)},
            "does not fit: its first layer takes 768 numbers, and gets 8 (the width of clip_h's vectors)",
        ),
        ({"0.weight": (4, 8), "1.weight": (1, 3)}, "its layer 2 takes 3 numbers, and gets 4 (from the layer before)"),
        ({"weight": (2, 8)}, "does not end in one number"),
        ({"nothing": (1,)}, "does not end in one number"),
        (None, "is no safetensors file"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_before_a_picture_is_made(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]] | None, words: str | None
) -> None:
    head = tmp_path / "head.safetensors"
    told = json.dumps({name: {"dtype": "F32", "shape": shape} for name, shape in (shapes or {}).items()}).encode()
    head.write_bytes(b"no head" if shapes is None else struct.pack("<Q", len(told)) + told)
    judging = ScoreValidator(lambda _role: None, head, lambda: 8)
    job = Txt2ImgJob(kind="txt2img", prompt="a", score=["aesthetic"])
    if words is None:
        assert judging.requested_scores(job, "a") == ("aesthetic",)
        return
    with pytest.raises(FieldError, match=re.escape(words)):
        judging.requested_scores(job, "a")


def test_the_others_lie_beside_and_the_ledger_says_so(setup: JobSetup) -> None:
    job = setup.jobs.submit(f"{JOB}keep: {{top: 2}}".encode(), "x.yaml")
    setup.work()
    assert setup.images() == ["rejected/x-0001.png", "rejected/x-0003.png", "x-0002.png", "x-0004.png"]
    items = setup.store.jobs.items(job.id)
    assert [one.scores for one in items] == [{"sharpness": float(one.seed)} for one in items]
    assert [one.rejected_path is None for one in items] == [False, True, False, True]
    assert all(Path(os.fsdecode(one.path)).is_file() for one in items)
    assert '"kept": false' in (setup.inbox / "done" / "x.result.json").read_text()
    found = setup.store.jobs.get(job.id)
    assert found is not None
    assert found.state == "done"


def test_a_name_that_is_taken_in_rejected_is_left_alone(setup: JobSetup) -> None:
    (setup.output / "rejected").mkdir()
    (setup.output / "rejected" / "x-0001.png").write_bytes(b"mine")
    setup.jobs.submit(f"{JOB}keep: {{sharpness: '>105'}}".encode(), "x.yaml")
    setup.work()
    assert (setup.output / "rejected" / "x-0001.png").read_bytes() == b"mine"
    assert "rejected/x-0001-2.png" in setup.images()


def test_what_somebody_changed_or_took_stays_as_it_is(setup: JobSetup) -> None:
    setup.workers.hold()
    job = setup.jobs.submit(f"{JOB}keep: {{top: 1}}".encode(), "x.yaml")
    for _ in range(3):
        setup.work()
        setup.workers.release(1)
    setup.work()
    (setup.output / "x-0001.png").write_bytes(b"edited")
    (setup.output / "x-0003.png").unlink()
    setup.workers.release()
    setup.work()
    assert (setup.output / "x-0001.png").read_bytes() == b"edited"
    assert setup.images() == ["rejected/x-0004.png", "x-0001.png", "x-0002.png"]
    errors = [one.error for one in setup.store.jobs.items(job.id)]
    assert errors[0] is not None
    assert "changed or deleted" in errors[0]


def test_a_cancelled_job_keeps_everything(setup: JobSetup) -> None:
    setup.workers.hold()
    job = setup.jobs.submit(f"{JOB}keep: {{top: 1}}".encode(), "x.yaml")
    setup.work()
    setup.workers.release(1)
    setup.work()
    setup.jobs.cancel(job.id)
    setup.workers.release()
    setup.work()
    assert setup.images() == ["x-0001.png"]


POINTS = ("verdict written", "linked", "set aside")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_death_in_between_changes_nothing(open_setup: OpenSetup, point: str, nth: int) -> None:
    if point == "verdict written" and nth == 2:
        nth = 1
    left = [nth]
    sifting = [False]

    def dies(at: str) -> None:
        sifting[0] = sifting[0] or at == "verdict written"
        if at == point and sifting[0]:
            left[0] -= 1
            if not left[0]:
                raise Died(at)

    fault: FaultHook = dies
    setup = open_setup(fault=fault)
    setup.jobs.submit(f"{JOB}keep: {{top: 2}}".encode(), "x.yaml")
    with pytest.raises(Died):
        setup.work()
    again = open_setup(fault=no_fault)
    again.work()
    assert again.images() == ["rejected/x-0001.png", "rejected/x-0003.png", "x-0002.png", "x-0004.png"]
    job = again.store.jobs.get(1)
    assert job is not None
    assert (job.state, job.file_location) == ("done", "done")
    assert [one.attempts for one in again.store.jobs.items(1)] == [1, 1, 1, 1]
    assert all(Path(os.fsdecode(one.path)).is_file() for one in again.store.jobs.items(1))


def test_an_adopted_picture_brings_its_scores(open_setup: OpenSetup) -> None:
    def dies(at: str) -> None:
        if at == "folder synced":
            raise Died(at)

    setup = open_setup(fault=dies)
    setup.jobs.submit(f"{JOB}keep: {{top: 1}}".encode(), "x.yaml")
    with pytest.raises(Died):
        setup.work()
    again = open_setup()
    assert [one.scores for one in again.store.jobs.items(1) if one.state == "done"] == [{"sharpness": 105.0}]
    again.work()
    assert again.images() == ["rejected/x-0001.png", "rejected/x-0003.png", "rejected/x-0004.png", "x-0002.png"]
