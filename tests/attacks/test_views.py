"""Views: what each does to a picture, alike on frames and clips, and the mean slope behind them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unfooled.attacks import views
from unfooled.attacks.gradient import autograd
from unfooled.attacks.views import Blur, Identity, Jitter, Rescale, Shift, View, average, fixed_views, over_views
from unfooled.models.detector import Detector

SIMPLE: list[View] = [Identity(), Blur(3, 5.0), Blur(7, 1.5), Shift(10, -20), Shift(-3, 7), Rescale(0.1), Rescale(0.6)]


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("view", SIMPLE, ids=str)
def test_a_clip_is_seen_frame_by_frame(view: View) -> None:
    clip = picture(2, 3, 4, 24, 20)
    seen = view(clip)
    assert seen.shape == clip.shape
    assert seen.dtype == clip.dtype
    for t in range(4):
        torch.testing.assert_close(seen[:, :, t], view(clip[:, :, t]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("view", SIMPLE, ids=str)
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 2, 5), (1, 3, 2, 3, 3)])
def test_small_pictures_stay_pictures(view: View, shape: tuple[int, ...]) -> None:
    x = picture(*shape)
    seen = view(x)
    assert seen.shape == x.shape
    assert ((seen >= 0) & (seen <= 1 + 1e-12)).all()


@pytest.mark.parametrize("view", SIMPLE, ids=str)
def test_every_view_has_its_exact_gradient(view: View) -> None:
    assert torch.autograd.gradcheck(view, (picture(1, 3, 8, 9).requires_grad_(),))
    assert torch.autograd.gradcheck(view, (picture(1, 3, 2, 6, 5).requires_grad_(),))


@pytest.mark.parametrize("view", SIMPLE, ids=str)
def test_a_batch_is_seen_row_by_row_in_any_layout(view: View) -> None:
    x = picture(3, 3, 12, 10)
    for i in range(3):
        torch.testing.assert_close(view(x[i : i + 1])[0], view(x)[i], rtol=0, atol=1e-12)
    torch.testing.assert_close(view(x.contiguous(memory_format=torch.channels_last)), view(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kernel", "sigma"), [(3, 5.0), (5, 1.0), (7, 10.0)])
def test_blur_is_the_weighted_mean_of_the_neighbours(kernel: int, sigma: float) -> None:
    x, half = picture(1, 3, 9, 8), kernel // 2
    offsets = range(-half, half + 1)
    weight = {(i, j): math.exp(-(i * i + j * j) / (2 * sigma * sigma)) for i in offsets for j in offsets}
    expected = torch.zeros_like(x)
    for row in range(9):
        for column in range(8):
            for (i, j), w in weight.items():
                near = x[:, :, min(max(row + i, 0), 8), min(max(column + j, 0), 7)]
                expected[:, :, row, column] += w / sum(weight.values()) * near
    torch.testing.assert_close(Blur(kernel, sigma)(x), expected, rtol=0, atol=1e-12)


def test_a_flat_picture_has_nothing_to_blur_or_rescale() -> None:
    flat = torch.full((1, 3, 30, 40), 0.3, dtype=torch.float64)
    for view in (Blur(7, 10.0), Rescale(0.1), Blur(1, 5.0)):
        torch.testing.assert_close(view(flat), flat, rtol=0, atol=1e-12)
    x = picture(1, 3, 10, 10)
    torch.testing.assert_close(Rescale(1.0)(x), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(Blur(1, 5.0)(x), x, rtol=0, atol=1e-12)


def test_shift_moves_down_and_right_and_lets_black_in() -> None:
    x = picture(1, 3, 100, 90)
    seen = Shift(10, -20)(x)
    assert torch.equal(seen[..., 10:, :70], x[..., :90, 20:])
    assert (seen[..., :10, :] == 0).all()
    assert (seen[..., 70:] == 0).all()
    assert torch.equal(Shift(0, 0)(x), x)


@pytest.mark.parametrize(("side", "ten", "twenty"), [(224, 10, 20), (80, 10, 20), (40, 5, 10), (8, 1, 2), (2, 0, 0)])
def test_small_faces_are_shifted_less(side: int, ten: int, twenty: int) -> None:
    x = torch.ones(1, 3, side, side)
    for pixels, moved in ((10, ten), (20, twenty)):
        assert (Shift(pixels, 0)(x)[0, 0, :, 0] == 0).sum() == moved
        assert (Shift(0, -pixels)(x)[0, 0, 0] == 0).sum() == moved


def test_rescale_loses_detail_and_keeps_corners() -> None:
    x = picture(1, 3, 40, 40)
    spread = [Rescale(factor)(x).diff(dim=-1).abs().mean().item() for factor in (0.1, 0.3, 0.6, 1.0)]
    assert spread == sorted(spread)
    torch.testing.assert_close(Rescale(0.5)(x)[..., 0, 0], x[..., 0, 0])


def test_the_seventeen_views() -> None:
    x = picture(2, 3, 96, 96)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    made = fixed_views(noise)
    assert len(made) == 17
    seen = [view(x) for view in made]
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert [type(view) for view in made] == [Identity, Jitter, *[Blur] * 4, *[Shift] * 8, *[Rescale] * 3]
    assert {(v.kernel, v.sigma) for v in made if isinstance(v, Blur)} == {(5, 5.0), (5, 10.0), (7, 5.0), (7, 10.0)}
    assert {(v.down, v.right) for v in made if isinstance(v, Shift)} == {
        (a * by, b * by) for by in (10, 20) for a in (1, -1) for b in (1, -1)
    }
    torch.testing.assert_close(made[1](x), (x + 0.01 * noise).clamp(0, 1))
    assert ((made[1](x) - x).std() - 0.01).abs() < 1e-3


def test_random_views_are_redrawn_at_each_step_and_stay_in_their_ranges() -> None:
    drawn = [views.random_views(0, step) for step in range(300)]
    assert drawn[:3] == [views.random_views(0, step) for step in range(3)]
    assert drawn[0] != drawn[1]
    assert drawn[:5] != [views.random_views(1, step) for step in range(5)]
    kernels, sigmas, shifts, factors = set(), set(), set(), set()
    for identity, blur, shift, rescale in drawn:
        assert isinstance(identity, Identity)
        assert isinstance(blur, Blur)
        assert isinstance(shift, Shift)
        assert isinstance(rescale, Rescale)
        kernels.add(blur.kernel)
        sigmas.add(blur.sigma)
        shifts |= {shift.down, shift.right}
        factors.add(rescale.factor)
    assert (kernels, sigmas, factors) == ({3, 5}, {5.0, 6.0, 7.0}, {0.4, 0.5, 0.6})
    assert (min(shifts), max(shifts)) == (-20, 20)
    torch.manual_seed(5)
    first = views.random_views(None, 0)
    assert views.random_views(None, 0) != first
    torch.manual_seed(5)
    assert views.random_views(None, 0) == first


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("kind", ["frames", "clips"])
def test_the_slope_behind_views_is_the_mean_of_each(
    rows: int, kind: str, tiny_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "ROWS", rows)
    detector = tiny_detector.double()
    if kind == "clips":
        # The backbone sees frames: a clip's features are their mean.
        flat = detector.features
        detector.features = lambda x: torch.stack([flat(frame) for frame in x.unbind(2)]).mean(0)  # type: ignore[method-assign]
    x = picture(*((2, 3, 3, 16, 16) if kind == "clips" else (2, 3, 16, 16)))
    made = fixed_views(torch.ones_like(x))
    highest, slope = over_views(autograd(detector, lambda features, logits: -logits.square()), made)(x)
    leaf = x.clone().requires_grad_()
    logits = torch.stack([detector.classify(detector.features(view(leaf))) for view in made])
    (expected,) = torch.autograd.grad(-logits.square().sum() / 17, leaf)
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(highest, logits.amax(0).detach())
    assert not slope.requires_grad


def test_the_average_of_slopes() -> None:
    x = picture(2, 3, 2, 2)
    logits, slope = average([lambda v: (v[:, 0, 0, 0], v), lambda v: (-v[:, 0, 0, 0], 3 * v)])(x)
    torch.testing.assert_close(slope, 2 * x)
    torch.testing.assert_close(logits, x[:, 0, 0, 0].abs())


def test_blur_is_not_rough_under_autocast() -> None:
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(Blur(5, 5.0)(x), Blur(5, 5.0)(x.double()).float(), rtol=0, atol=1e-6)
