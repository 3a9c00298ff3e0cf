"""A detector seen through the frame: it is shown the crop that a file gives, and its slope is the true one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled.attack_files.through import Through, canvas
from unfooled.attacks import PGD
from unfooled.codecs import to_pixels, to_tensor
from unfooled.data.alignment import MEAN_FACE, Cut, crop, cutting, placement
from unfooled.data.faces import Face
from unfooled.data.images import Pixels
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf

SIZE = 32


class Weighted(nn.Module):
    """Weights of their own for every pixel, one feature a channel; clips: their mean over time."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.linspace(-1, 2, x[0, 0].numel() // (x.shape[2] if x.dim() == 5 else 1)).to(x)
        return (
            (x.flatten(-2) * weights).mean(-1).flatten(2).mean(2) if x.dim() == 5 else (x.flatten(2) * weights).mean(2)
        )


@pytest.fixture
def judge() -> Detector:
    torch.manual_seed(0)
    return Detector(Weighted(), nn.Linear(3, 1), mean=0.5, std=0.25).eval()


def picture(height: int = 300, width: int = 400, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    return np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 0.8), np.uint8)


def face(side: float, turn: float = 0.3, at: tuple[float, float] = (180, 140)) -> Face:
    x, y = at
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    rotation = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    return Face(box, 0.9, MEAN_FACE @ rotation * side / 3 + at)


def cut_of(found: Face, shape: tuple[int, ...], size: int = SIZE) -> Cut:
    return cutting(placement(found, size), size, shape)


@pytest.mark.parametrize("side", [8, 20, 30, 45, 66, 130, 240, 500])
@pytest.mark.parametrize("at", [(180.0, 140.0), (12.5, 290.0)])
def test_it_sees_what_a_crop_makes_of_the_frame(side: float, at: tuple[float, float], judge: Detector) -> None:
    pixels, found = picture(), face(side, at=at)
    cut = cut_of(found, pixels.shape)
    through = Through(judge, [cut])
    x = canvas([cut.part(pixels)], "cpu", clip=False)
    seen, expected = to_pixels(through.crops(x)[0]).astype(int), crop(pixels, found, SIZE)
    assert np.abs(seen - expected).max() <= 1
    assert (seen != expected).mean() < 0.02  # halves may be rounded either way
    assert through(x).item() == pytest.approx(judge(to_tensor(expected)[None]).item(), abs=0.01)


def test_frames_of_a_clip_have_their_own_places_and_sizes(judge: Detector) -> None:
    films, faces = [picture(seed=s) for s in range(3)], [face(30), face(50, -0.2), face(90, at=(60, 60))]
    cuts = [cut_of(f, p.shape) for f, p in zip(faces, films, strict=True)]
    x = canvas([c.part(p) for c, p in zip(cuts, films, strict=True)], "cpu", clip=True)
    assert x.shape[:3] == (1, 3, 3)
    crops = Through(judge, cuts).crops(x)
    assert crops.shape == (1, 3, 3, SIZE, SIZE)
    for t in range(3):
        expected = to_tensor(crop(films[t], faces[t], SIZE))
        assert (crops[0, :, t] - expected).abs().max() <= 1.01 / 255
    many = x.repeat(4, 1, 1, 1, 1)
    torch.testing.assert_close(Through(judge, cuts)(many), Through(judge, cuts)(x).expand(4))


@pytest.mark.parametrize("side", [20, 40, 150])
def test_the_slope_is_that_of_small_changes_of_the_frame(side: float, judge: Detector) -> None:
    pixels = picture()
    cut = cut_of(face(side), pixels.shape)
    x = canvas([cut.part(pixels)], "cpu", clip=False).requires_grad_()
    through = Through(judge, [cut])
    (slope,) = torch.autograd.grad(through(x).sum(), x)
    rng = torch.Generator().manual_seed(0)
    # The map is linear but for the rounding: a change of some levels says what the slope is.
    change = torch.randint(-30, 31, x.shape, generator=rng) / 255
    inside = (x.detach() + change).clamp(0, 1)
    told = (slope * (inside - x.detach())).sum().item()
    done = (through(inside) - through(x.detach())).item()
    assert done == pytest.approx(told, abs=0.02 * float(slope.abs().sum()) / 255 * 30 + 1e-3)
    far = through((x.detach() + slope.sign() * 10 / 255).clamp(0, 1)) - through(x.detach())
    assert far.item() > 0.5 * float(slope.abs().sum()) * 10 / 255


@pytest.mark.parametrize("threat", [Linf(4 / 255), L2(2.0)])
def test_the_threat_holds_in_the_frame(threat: Linf | L2, judge: Detector) -> None:
    pixels = picture()
    cut = cut_of(face(80), pixels.shape)
    x = canvas([cut.part(pixels)], "cpu", clip=False)
    through = Through(judge, [cut])
    found = PGD(threat, steps=5)(through, x, torch.tensor([1]))
    assert found.distance.item() <= threat.eps + 1e-5
    assert int(found.queries) >= 5
    assert found.logits < through(x)
    after = pixels.copy()
    cut.part(after)[:] = to_pixels(found.x[0])
    # What the file gives is what the search has found.
    assert judge(to_tensor(crop(after, face(80), SIZE))[None]).item() == pytest.approx(found.logits.item(), abs=0.01)


def test_it_leaves_the_detector_as_it_was_and_has_its_threshold_and_features(judge: Detector) -> None:
    judge.threshold.fill_(0.7)
    pixels = picture()
    cut = cut_of(face(40), pixels.shape)
    through = Through(judge, [cut])
    x = canvas([cut.part(pixels)], "cpu", clip=False)
    assert float(through.threshold) == pytest.approx(0.7)
    torch.testing.assert_close(through.features(x), judge.features(through.crops(x)))
    torch.testing.assert_close(through(x), judge(through.crops(x)))
    assert all(parameter.requires_grad for parameter in judge.parameters())
