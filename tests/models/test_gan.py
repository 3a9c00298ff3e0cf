"""Generator and discriminator: shapes, ranges, the bound that spectral norm promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unfooled.errors import ConfigError
from unfooled.models.gan import REACH, SIZES, Discriminator, Generator, draw_latents


@pytest.mark.parametrize("size", SIZES)
def test_images_have_the_size_and_one_number_each_and_every_parameter_gets_a_gradient(size: int) -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(size, 4, 8), Discriminator(size, 4)
    for layer in generator.images:
        nn.init.normal_(layer.weight)
    images = generator(draw_latents(3, 8))
    assert images.shape == (3, 3, size, size)
    assert 0 <= images.min() < images.max() <= 1
    judged = discriminator(images)
    assert judged.shape == (3,)
    judged.sum().backward()
    for network in (generator, discriminator):
        assert not [k for k, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]


def test_every_layer_of_the_discriminator_has_spectral_norm_1() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(32, 4).train()
    with torch.no_grad():
        for layer in discriminator.layers:
            if isinstance(layer, nn.Conv2d):
                layer.parametrizations.weight.original.mul_(7)
        for _ in range(200):
            discriminator(torch.rand(1, 3, 32, 32))
    discriminator.eval()
    weights = [layer.weight.flatten(1) for layer in discriminator.layers if isinstance(layer, nn.Conv2d)]
    assert len(weights) == 4
    for weight in weights:
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-3)


def test_it_starts_as_the_gaussian_of_the_faces_it_is_given() -> None:
    faces = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    generator = Generator(32, 4, 12).eval()
    generator.start_from(faces)
    both = (REACH * (2 * torch.cat([faces, faces.flip(3)]) - 1)).atanh().flatten(1)
    with torch.no_grad():
        middle = generator(torch.zeros(1, 12))
    assert torch.allclose(middle.flatten(), (both.mean(0).tanh() + 1) / 2, atol=1e-5)
    covariance = both.t().cov(correction=0)
    assert torch.allclose(generator.components.t() @ generator.components, covariance, atol=1e-4)
    assert (generator.components.square().sum(1) > 1e-6).sum() == 9, "ten images span nine directions"
    generator.start_from(faces[:1])
    assert generator.components.isfinite().all()


def test_the_spec_builds_it_again() -> None:
    generator = Generator(32, 6, 10)
    again = Generator(**generator.spec)
    again.load_state_dict(generator.state_dict())
    z = draw_latents(2, 10, torch.Generator().manual_seed(1))
    assert torch.equal(generator.eval()(z), again.eval()(z))


@pytest.mark.parametrize(
    ("options", "message"), [({"size": 48}, "32, 64 or 128"), ({"width": 1}, "width 1"), ({"latent": 0}, "latent 0")]
)
def test_networks_that_can_not_be_built_say_why(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Generator(**options)
