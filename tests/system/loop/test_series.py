"""A series in another file format on the real daemon: images, sheet, index, and one of its images made again."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from indexd.demo.daemon_process import DaemonProcess
from indexd.demo.settings_toml import model_tables
from indexd.jobs.export.replay import compare_images
from tests.support.tiny_models.models import TinyModels

SERIES = """\
kind: txt2img
prompt: a cat
size: 64x64
steps: 2
output: {format: webp, quality: lossless}
grid:
  cfg: [4, 7]
  prompt: {search: cat, replace: [cat, café]}
"""


def test_a_series_is_made_shown_indexed_and_made_again(bare_home: Path, tiny_models: TinyModels) -> None:
    home = bare_home
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(model_tables(generator=tiny_models.sdxl) + "[generate]\nthreads = 1\n")
    done, output = home / "inbox" / "done", home / "output"
    with DaemonProcess(home) as daemon:
        _drop(home, "series", SERIES)
        daemon.wait_until("the series", lambda _status: (done / "series.result.json").is_file(), 300)
        items = json.loads((done / "series.result.json").read_text("utf-8"))["items"]
        assert [item["state"] for item in items] == ["done"] * 5
        images = [f"series-000{number}.webp" for number in range(1, 5)]
        assert sorted(path.name for path in output.iterdir()) == [*images, "series.sheet.png"]
        with Image.open(output / "series.sheet.png") as sheet:
            assert sheet.width > 2 * 64 and sheet.height > 2 * 64
        _drop(home, "again", f"kind: regenerate\ninput: '{output / images[3]}'\n")
        daemon.wait_until("the image again", lambda _status: (done / "again.result.json").is_file(), 300)
        assert compare_images(output / images[3], output / "again-0001.webp").same_bytes
        # The image made again has the content of its original, and the sheet is left out.
        status = daemon.wait_until("the index", lambda status: status.files == 5, 60)
        assert status.images == 4


def _drop(home: Path, name: str, text: str) -> None:
    (home / f"{name}.tmp").write_text(text, "utf-8")
    (home / f"{name}.tmp").rename(home / "inbox" / f"{name}.yaml")
