"""MesoNet against the golden numbers of both published forms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from unfooled import models
from unfooled.models.published import load_published

NETWORKS = ["meso4", "mesoinception4"]
KERAS = {
    "Meso4_DF": "meso4",
    "Meso4_F2F": "meso4",
    "MesoInception_DF": "mesoinception4",
    "MesoInception_F2F": "mesoinception4",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_keys_and_weights_are_the_published_ones(name: str, recipe: Any) -> None:
    published = recipe.keys[f"{name}_deepfakebench"]
    own = models.create(name).backbone.state_dict()
    assert recipe.digest(recipe.fill({k: s for k, s, _ in published["entries"]})) == published["weights_sha256"]
    # One logit: the detector's head.weight and head.bias stand for fc2.
    wanted = [(k, s) for k, s, _ in published["entries"] if not k.startswith("fc2.")]
    assert [(k, list(v.shape)) for k, v in own.items()] == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_deepfakebench_form_gives_the_golden_features_and_logits(
    name: str, dtype: torch.dtype, recipe: Any, golden: Callable[[str], Path]
) -> None:
    want = np.load(golden("meso_deepfakebench.npz"))
    state = recipe.fill({k: s for k, s, _ in recipe.keys[f"{name}_deepfakebench"]["entries"]})
    detector = load_published(state, name).to(dtype)
    x = recipe.network_input(2, 3, 256, 256).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    with torch.no_grad():
        features = detector.backbone.conv_features(x).numpy()
        z = detector.classify(detector.backbone(x)).numpy()
        z_pixels = detector(x * 0.5 + 0.5).numpy()
    golden_features, golden_logits = want[f"{name}_feature"], want[f"{name}_logits"]
    golden_z = golden_logits[:, 1] - golden_logits[:, 0]
    assert np.abs(features - golden_features).max() <= tolerance * np.abs(golden_features).max()
    # The head is the difference of two float32 rows, so float64 can not be exact.
    assert np.abs(z - golden_z).max() <= max(tolerance, 1e-7) * np.abs(golden_logits).max()
    assert np.abs(z_pixels - golden_z).max() <= 1e-5


def test_two_convolutions_share_a_batch_norm_in_the_deepfakebench_form_only() -> None:
    x = torch.rand(2, 3, 64, 64)
    for form, updates in (("deepfakebench", 2), ("keras", 1)):
        backbone = models.create("meso4", form=form).backbone.train()
        backbone(x)
        assert backbone.bn1.num_batches_tracked == updates


@pytest.fixture(scope="module")
def keras_golden(golden: Callable[[str], Path]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(golden("mesonet_keras_h5.json").read_text())
    return loaded


@pytest.mark.parametrize("file", sorted(KERAS))
def test_the_four_keras_files_give_the_golden_scores(file: str, keras_golden: dict[str, Any], shared: Path) -> None:
    detector = load_published(shared / "models" / f"{file}.h5", KERAS[file])
    assert detector.spec == {"name": KERAS[file], "form": "keras"}
    want = keras_golden["files"][file]["out"]
    resized = keras_golden["resize"]["cv2_linear"]["rgb_uint8_sha256"]
    for name, sha256, p_real in zip(keras_golden["images"], resized, want["cv2_linear"]["p_real"], strict=True):
        bgr = cv2.imread(str(shared / "models" / "mesonet_test_images" / name))
        rgb = cv2.resize(bgr, (256, 256), interpolation=cv2.INTER_LINEAR)[..., ::-1].copy()
        same = hashlib.sha256(rgb.tobytes()).hexdigest() == sha256
        with torch.no_grad():
            z = detector(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)
        assert abs(torch.sigmoid(-z).item() - p_real) <= (1e-4 if same else 5e-3)
    synthetic = torch.from_numpy(np.random.default_rng(0).random((2, 256, 256, 3), dtype=np.float32))
    with torch.no_grad():
        z = detector(synthetic.permute(0, 3, 1, 2))
    assert np.abs(-z.numpy() - np.array(want["synthetic"]["logit"])).max() <= 1e-3


def test_a_keras_detector_says_fake_above_its_threshold(shared: Path) -> None:
    detector = load_published(shared / "models" / "Meso4_DF.h5", "meso4")
    z = {}
    for name in ("df/df01254", "real/real00772"):
        bgr = cv2.imread(str(shared / "models" / "mesonet_test_images" / f"{name}.jpg"))
        with torch.no_grad():
            z[name] = detector(torch.from_numpy(bgr[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255).item()
    assert z["df/df01254"] > detector.threshold > z["real/real00772"]
