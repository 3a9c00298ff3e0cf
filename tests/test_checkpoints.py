"""Checkpoints: what is saved comes back; what does not fit is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import unfooled
from unfooled import checkpoints, models
from unfooled.errors import CheckpointError, ConfigError
from unfooled.models import Detector

X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    detector = models.create("resnet", width=4, head="cosine", scale=16)
    detector(X)  # moves the batch-norm statistics away from their start
    detector.threshold.fill_(1.2345)
    return detector


def test_weights_spec_threshold_and_metadata_come_back(detector: Detector, tmp_path: Path) -> None:
    path = checkpoints.save(detector, tmp_path / "new" / "best.safetensors", epoch=3, auc={"clean": 0.5})
    again = checkpoints.load(path)
    assert not again.training
    assert again.spec == detector.spec
    assert torch.equal(again.threshold, detector.threshold)
    assert torch.equal(again(X), detector.eval()(X))
    facts = checkpoints.metadata(path)
    assert facts["epoch"] == 3
    assert facts["auc"] == {"clean": 0.5}
    assert facts["spec"] == detector.spec
    assert facts["threshold"] == detector.threshold.item()
    assert checkpoints.metadata(path.parent) == facts
    assert torch.equal(unfooled.load(path.parent)(X), again(X))
    assert [p.name for p in path.parent.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("name", sorted(models.DETECTORS))
def test_every_detector_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    detector = models.create(name, size=48).eval()
    again = checkpoints.load(checkpoints.save(detector, tmp_path / "a.safetensors"))
    x = X.unsqueeze(2).repeat(1, 1, 3, 1, 1) if detector.clips else X
    with torch.no_grad():
        assert torch.equal(again(x), detector(x))


def test_dtype_and_memory_format_do_not_get_lost_or_in_the_way(detector: Detector, tmp_path: Path) -> None:
    detector = detector.double().to(memory_format=torch.channels_last).eval()
    again = checkpoints.load(checkpoints.save(detector, tmp_path / "a.safetensors"))
    assert torch.allclose(again(X.double()), detector(X.double()), rtol=1e-12)


def test_a_wrapped_network_needs_its_module_back(tmp_path: Path) -> None:
    def fresh(seed: int) -> Detector:
        torch.manual_seed(seed)
        return unfooled.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1)), features="1")

    path = checkpoints.save(fresh(0), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"into=unfooled\.wrap"):
        checkpoints.load(path)
    assert torch.equal(checkpoints.load(path, into=fresh(1))(X), fresh(0)(X))


def test_what_does_not_fit_is_listed(detector: Detector, tmp_path: Path) -> None:
    path = checkpoints.save(detector, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(path, into=models.create("resnet", width=8, head="linear"))
    text = str(error.value)
    assert "missing 1: head.bias" in text
    assert "backbone.stages.0.bn1.weight [4] for [8]" in text
    with pytest.raises(
        CheckpointError, match=r"missing 17: .* and 9 more; unexpected 72: .* of other shape 1: head.weight"
    ):
        checkpoints.load(path, into=models.create("meso4"))


def test_equal_shapes_of_another_function_are_refused(tmp_path: Path) -> None:
    path = checkpoints.save(models.create("resnet", width=4, features="relu"), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="other options: features was relu, is linear"):
        checkpoints.load(path, into=models.create("resnet", width=4, features="linear"))
    checkpoints.load(path, into=models.create("resnet", width=4, dropout=0.5))


def test_a_file_that_is_not_there_empty_or_cut_short_gives_one_line(detector: Detector, tmp_path: Path) -> None:
    path = checkpoints.save(detector, tmp_path / "a.safetensors")
    whole = path.read_bytes()
    for size, message in ((0, "is empty"), (1, "cut short"), (20, "cut short"), (len(whole) // 2, "cut short")):
        path.write_bytes(whole[:size])
        for read in (checkpoints.load, checkpoints.metadata):
            with pytest.raises(CheckpointError, match=message) as error:
                read(path)
            assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=r"b\.safetensors can not be read: No such file"):
        checkpoints.load(tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no best\.safetensors"):
        checkpoints.load(tmp_path)


def test_a_pickle_is_refused_with_the_way_to_convert(detector: Detector, tmp_path: Path) -> None:
    for legacy in (False, True):
        path = tmp_path / "model.pt"
        torch.save(detector, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match=r"refused as unsafe.*safetensors\.torch\.save_file"):
            checkpoints.load(path)


def test_foreign_newer_and_unbuildable_files_are_told_apart(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="load_published"):
        checkpoints.load(tmp_path / "foreign.safetensors")
    detector.spec = {"name": "resnet", "depth": 99}
    with pytest.raises(CheckpointError, match="no option 'depth'"):
        checkpoints.load(checkpoints.save(detector, tmp_path / "a.safetensors"))
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    checkpoints.save(detector, tmp_path / "newer.safetensors")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format 2, this unfooled reads 1"):
        checkpoints.metadata(tmp_path / "newer.safetensors")


def test_metadata_must_be_json_and_not_shadow_the_detectors_own(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be JSON"):
        checkpoints.save(detector, tmp_path / "a.safetensors", when=object())
    with pytest.raises(ConfigError, match="threshold"):
        checkpoints.save(detector, tmp_path / "a.safetensors", threshold=1)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_file_and_leaves_no_rest(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoints.save(detector, tmp_path / "a.safetensors")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="can not be written: No space left on device"):
        checkpoints.save(models.create("resnet", width=2), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
