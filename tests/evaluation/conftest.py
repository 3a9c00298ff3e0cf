"""A made set of faces on disk and a detector that has learned it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.models.detector import Detector, LinearHead

SIZE = 16
MANIPULATIONS = ("Deepfakes", "FaceSwap")


def make_faces(root: Path, people: int = 4, seed: int = 0) -> Manifest:
    """Per person one real and one fake of each manipulation, two frames each; fakes carry a faint stripe pattern."""
    rng = np.random.default_rng(seed)
    rows = []
    stripes = (-1.0) ** np.arange(SIZE)[None, :, None]
    for person in range(people):
        base = np.kron(rng.integers(60, 190, (4, 4, 3)), np.ones((4, 4, 1)))
        for manipulation in ("Real", *MANIPULATIONS):
            for frame in range(2):
                fake = manipulation != "Real"
                noise = rng.integers(-6, 7, base.shape)
                pixels = np.clip(base + noise + fake * rng.uniform(0, 6) * stripes, 0, 255).astype(np.uint8)
                path = Path(manipulation) / f"{person:03d}" / f"{frame:04d}.png"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / path)
                row = {
                    "id": f"made/{manipulation}/raw/{person:03d}/{frame:04d}",
                    "path": path.as_posix(),
                    "label": int(fake),
                    "video": f"made/{manipulation}/{person:03d}",
                    "identity": f"p{person}",
                    "manipulation": manipulation,
                    "dataset": "made",
                    "collection": "london" if person % 2 else "gpo",
                    "split": "test",
                }
                rows.append(row)
    return Manifest.from_rows(rows, root)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """24 PNG files of 4 people."""
    return make_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="session")
def frames(manifest: Manifest) -> Frames:
    return Frames(manifest, SIZE)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A small network that tells the made fakes from the reals, trained on other people."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Softplus(), nn.Conv2d(8, 8, 3, 2, 1), nn.Softplus(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    detector = Detector(backbone, LinearHead(8), mean=0.5, std=0.5, spec={"name": "tiny"})
    others = Frames(make_faces(tmp_path_factory.mktemp("others"), people=24, seed=1), SIZE)
    (batch,) = others.test_loader(len(others))
    optimizer = torch.optim.Adam(detector.parameters(), 0.02)
    for _ in range(150):
        weight = torch.where(batch.y == 1, 0.5, 1.0)
        loss = nn.functional.binary_cross_entropy_with_logits(detector(batch.x), batch.y.float(), weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return detector.eval()


@pytest.fixture(scope="session")
def write_csv(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A CSV file with the given text."""

    def write(text: str) -> Path:
        path = tmp_path_factory.mktemp("csv") / "scores.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def faces() -> Callable[..., Manifest]:
    """``faces(root, people=4, seed=0)`` writes PNG files and gives their manifest."""
    return make_faces
