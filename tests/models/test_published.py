"""Published weights: namings, files, and what is refused."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unfooled.errors import CheckpointError, ConfigError
from unfooled.models.published import load_published

NAMINGS = ["canonical", "deepfakebench", "ffpp", "ffpp_dropout", "timm", "cadene_pth"]


def xception_state(recipe: Any, naming: str) -> dict[str, Tensor]:
    """The recipe's weights under a published naming."""
    state = {}
    for row in recipe.keys["xception"]["rows"]:
        if row[naming] is not None:
            tensor = recipe.entry(row["canonical"], row["shape"])
            state[row[naming]] = tensor[..., 0, 0] if naming == "cadene_pth" and "pointwise" in row[naming] else tensor
    if naming == "cadene_pth":
        state |= {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    return state


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_of_xception_gives_the_same_weights(naming: str, recipe: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = load_published(xception_state(recipe, naming), "xception").state_dict()
    said = " ".join(str(w.message) for w in caught)
    assert ("adjust_channel.0.weight" in said) == (naming in ("canonical", "deepfakebench"))
    assert ("1000" in said) == (naming == "cadene_pth")
    for row in recipe.keys["xception"]["rows"]:
        name, wanted = row["canonical"], recipe.entry(row["canonical"], row["shape"])
        if name.startswith("last_linear") and naming != "cadene_pth":
            assert torch.equal(got[name.replace("last_linear", "head")], (wanted[1] - wanted[0]).unsqueeze(0))
        elif not name.startswith(("last_linear", "adjust_channel")):
            assert torch.equal(got[f"backbone.{name}"], wanted), name


@pytest.fixture
def meso_state(recipe: Any) -> dict[str, Tensor]:
    filled: dict[str, Tensor] = recipe.fill({k: s for k, s, _ in recipe.keys["meso4_deepfakebench"]["entries"]})
    return filled


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
@pytest.mark.parametrize("kind", ["safetensors", "pth", "wrapped.pth"])
def test_files_and_prefixes_do_not_matter(
    prefix: str, kind: str, meso_state: dict[str, Tensor], tmp_path: Path
) -> None:
    named = {prefix + k: v for k, v in meso_state.items()}
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(named, path)
    else:
        torch.save({"state_dict": named, "epoch": 3} if kind == "wrapped.pth" else named, path)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load_published(path, "meso4")(x), load_published(meso_state, "meso4")(x))


def test_the_class_that_means_fake_turns_the_sign(meso_state: dict[str, Tensor]) -> None:
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        z, flipped = (load_published(meso_state, "meso4", fake_class=c)(x) for c in (1, 0))
    assert torch.allclose(z, -flipped)
    with pytest.raises(ConfigError, match="0 or 1, got 2"):
        load_published(meso_state, "meso4", fake_class=2)  # type: ignore[arg-type]


def test_a_cosine_head_starts_fresh_and_says_so(meso_state: dict[str, Tensor]) -> None:
    with pytest.warns(UserWarning, match="fc2 .* does not fit the head, which starts fresh"):
        assert load_published(meso_state, "meso4", head="cosine").spec["head"] == "cosine"
    no_head = {k: v for k, v in meso_state.items() if not k.startswith("fc2")}
    with pytest.warns(UserWarning, match="there is no fc2"):
        load_published(no_head, "meso4")


def test_missing_other_shaped_and_unexpected_entries_are_listed(meso_state: dict[str, Tensor]) -> None:
    del meso_state["conv3.weight"]
    meso_state |= {"conv1.weight": torch.zeros(8, 3, 5, 5), "extra": torch.zeros(1)}
    with pytest.raises(CheckpointError) as error:
        load_published(meso_state, "meso4")
    assert "missing 1: conv3.weight" in str(error.value)
    assert "conv1.weight [8, 3, 5, 5] for [8, 3, 3, 3]" in str(error.value)
    assert "unexpected 1: extra" in str(error.value)


def test_a_pickled_module_is_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    path = tmp_path / "whole.p"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(CheckpointError, match=r"refused as unsafe.*save_file"):
        load_published(path, "xception")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5"])
@pytest.mark.parametrize("content", [None, b"", b"not weights at all"])
def test_a_missing_empty_or_foreign_file_gives_one_line(suffix: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_published(path, "meso4")
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_short_gives_one_line(meso_state: dict[str, Tensor], shared: Path, tmp_path: Path) -> None:
    save_file(meso_state, tmp_path / "a.safetensors")
    torch.save(meso_state, tmp_path / "a.pth")
    shutil.copyfile(shared / "models" / "Meso4_DF.h5", tmp_path / "a.h5")
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(CheckpointError, match=path.name) as error:
            load_published(path, "meso4")
        assert "\n" not in str(error.value)


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list, not a state dict"):
        load_published(tmp_path / "list.pth", "meso4")


def test_keras_files_need_a_mesonet_in_keras_form_and_h5py(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared / "models" / "Meso4_DF.h5"
    with pytest.raises(ConfigError, match="form keras only"):
        load_published(path, "meso4", form="deepfakebench")
    with pytest.raises(ConfigError, match="form keras only"):
        load_published(path, "xception")
    with pytest.raises(CheckpointError, match="4 conv2d layers, the detector 16"):
        load_published(path, "mesoinception4")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r"pip install 'unfooled\[keras\]'"):
        load_published(path, "meso4")


def test_only_published_detectors_can_be_named() -> None:
    with pytest.raises(ConfigError, match=r"no published detector named 'meso5' .did you mean 'meso4'"):
        load_published({}, "meso5")
