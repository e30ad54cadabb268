"""A template on the real daemon: a dropped file makes a set of images, and each is found by what was chosen for it."""

from __future__ import annotations

import json
from pathlib import Path

from indexd.demo.daemon_process import DaemonProcess, is_settled
from tests.system.loop.test_loop import indexd

PORTRAITS = """\
kind: txt2img
size: 64x64
steps: 1
seed: 1
prompt: "portrait of {prompt}, __hair__, {Mood}"
negative_prompt: blurry
slots:
  Mood:
    sad: crying
    happy: {prompt: smiling, negative: tears, steps: 2}
output: {name: "{hair} {Mood} {2}"}
"""
JOB = "template: portraits\nprompt: a {girl|boy}, {red|green|blue} coat\n"


def test_a_dropped_template_makes_a_set_that_is_found_by_choice(home: Path) -> None:
    for folder, name, text in (
        ("templates", "portraits.yaml", PORTRAITS),
        ("wildcards", "hair.txt", "bob\nbraid\n"),
        ("inbox", "set.yaml", JOB),
    ):
        (home / folder).mkdir(exist_ok=True)
        (home / folder / name).write_text(text, "utf-8")
    with DaemonProcess(home) as daemon:
        daemon.wait_until(
            "the set of 24",
            lambda status: status.jobs.get("done") == 1 and status.images == 24 and is_settled(status),
            300,
        )
        result = json.loads((home / "inbox" / "done" / "set.result.json").read_text("utf-8"))
        made = {item["path"]: recipe for item, recipe in zip(result["items"], result["recipes"], strict=True)}
        assert len(made) == 24
        assert len({recipe["prompt"] for recipe in made.values()}) == 24
        for name, value, count in (("hair", "bob", 12), ("Mood", "happy", 12), ("1", "girl", 12), ("2", "green", 8)):
            found = indexd(home, "query", f"choice:{name}={value}", "--paths", "-n", "100").stdout.splitlines()
            assert len(found) == count
            assert set(found) == {path for path, recipe in made.items() if recipe["choices"][name] == value}
        both = indexd(home, "query", "choice:hair=bob", "choice:Mood=sad", "--paths", "-n", "100").stdout.splitlines()
        assert len(both) == 6
        assert all("portrait of" in made[path]["prompt"] and "crying" in made[path]["prompt"] for path in both)
        assert all(made[path]["steps"] == (2 if made[path]["choices"]["Mood"] == "happy" else 1) for path in made)
        assert all(Path(path).name.startswith("bob sad ") for path in both)
        counted = json.loads(indexd(home, "stats", "--by", "choice", "--json").stdout)
        rows = {row["value"]: row["images"] for row in counted["tables"][0]["rows"]}
        assert (rows["hair=braid"], rows["2=blue"]) == (12, 8)
