"""A small GAN of faces: train it on a manifest's reals, measure it, and sample fakes of manipulation ``GAN``."""

from unfooled.gan_training.frechet import Gaussian, features_of, frechet_distance
from unfooled.gan_training.loop import GanResult, fit_gan
from unfooled.gan_training.sampling import Samples, sample
from unfooled.gan_training.settings import GanSettings
from unfooled.gan_training.weights import load_generator, save_generator

__all__ = [
    "GanResult",
    "GanSettings",
    "Gaussian",
    "Samples",
    "features_of",
    "fit_gan",
    "frechet_distance",
    "load_generator",
    "sample",
    "save_generator",
]
