"""The Ray engine: the same bytes as the processes of one machine, and one clear line where it can not be."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from unfooled import checkpoints, models
from unfooled.codecs import encode_png
from unfooled.errors import ConfigError
from unfooled.scanning import ray_engine, work
from unfooled.scanning.bulk import scan_many
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.work import Task

QUICK = ScanOptions(face_detector="whole", margin="off", tampering=False)


def made(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of pictures, one twice there and one broken, and a run."""
    folder, run = tmp_path / "inbox", tmp_path / "run"
    folder.mkdir()
    for n in (0, 1, 2, 3, 1):
        pixels = np.random.default_rng(n).integers(0, 255, (24, 24, 3), np.uint8)
        (folder / f"{len(list(folder.iterdir()))}.png").write_bytes(encode_png(pixels))
    (folder / "broken.mp4").write_bytes(b"no video")
    torch.manual_seed(0)
    checkpoints.save(models.create("resnet", width=4), run / checkpoints.BEST)
    return folder, run


@pytest.mark.slow
def test_a_local_cluster_of_two_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder, run = made(tmp_path)
    for engine in ("processes", "ray"):
        done = scan_many([folder], tmp_path / engine, run, QUICK, workers=2, engine=engine)  # type: ignore[arg-type]
        assert done.counts.total() == 6
        assert (done.scanned, done.copies) == (5, 1)
    left = [
        {
            p.relative_to(out).as_posix(): p.read_bytes()
            for p in out.rglob("*")
            if p.is_file() and "ledger" not in p.name
        }
        for out in (tmp_path / "processes", tmp_path / "ray")
    ]
    assert left[0] == left[1]
    assert len(left[0]) > 8


@pytest.mark.slow
def test_what_stops_a_scan_stops_it_there_too(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    begin = partial(work.begin, tmp_path / "no run", QUICK, None)
    with pytest.raises(Exception, match="no run") as stopped:
        list(ray_engine.each(begin, [Task("k", tmp_path / "a.png", "a.png", None)], 1))
    assert type(stopped.value).__module__ == "unfooled.errors"


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'unfooled\[ray\]'"):
        list(ray_engine.each(lambda: lambda task: "", [], 1))


def test_it_needs_a_worker() -> None:
    with pytest.raises(ConfigError, match="workers must be at least 1 with engine ray, got 0"):
        list(ray_engine.each(lambda: lambda task: "", [], 0))
