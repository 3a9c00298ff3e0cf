"""Samples of a trained generator as files: fakes of manipulation ``GAN``, with a manifest that training can use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unfooled.codecs import to_pixels
from unfooled.data.leaks import shared_people
from unfooled.data.manifest import FAKE, REAL, SPLITS, Manifest, merge
from unfooled.errors import ConfigError, DataError
from unfooled.gan_training.images import generate, write_png
from unfooled.gan_training.loop import PEOPLE
from unfooled.gan_training.weights import digest, load_generator
from unfooled.synthesis.writing import folder_beside

MANIPULATION = "GAN"
FOLDER = f"fake/{MANIPULATION}"
MANIFEST = "manifest.parquet"
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Samples:
    """What ``sample`` wrote: the folder's manifest, and how many of its rows are samples of which size."""

    out: Path
    manifest: Manifest
    count: int
    size: int


def sample(
    run: Path | str,
    count: int,
    out: Path | str,
    *,
    index: Manifest | None = None,
    seed: int = 0,
    dataset: str = "gan",
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Write ``count`` generated faces as PNG files with the synthetic note, and a manifest; the folder appears whole.

    Every sample is a person and a video of its own, so no person can be in two splits. The splits have the shares of
    the reals of ``index``, 60/20/20 without it, spread evenly over the samples. The generator has seen training people
    only, so its samples may stand in any split.

    Args:
        run: folder of ``unfooled gan train``.
        count: >= 1; more samples of one seed begin with the same ones.
        out: a new folder.
        index: a manifest that the samples are added to; the result is ``out/manifest.parquet``, and the given one stays
            as it is. Without it that file holds the samples alone, for ``unfooled data merge``.
        seed: of the latent vectors.
        dataset: name that keeps ids apart from those of other sets.
        device: where the generator runs.
        progress: called with (done, count).

    Raises:
        ConfigError: ``count`` is below 1, or ``out`` is not empty.
        CheckpointError: ``run`` holds no generator.
        DataError: the generator was trained on people of the validation or test rows of ``index``, or its ids are in
            there already.
    """
    out = Path(out)
    if count < 1:
        raise ConfigError(f"the number of samples must be >= 1, got {count}; write 500")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"{out} is not empty; choose a new folder")
    generator, _ = load_generator(run, device)
    name = f"{digest(generator)}-{seed}"
    manifest = _manifest(out, [f"{name}-{number:06}" for number in range(count)], dataset, index)
    if index is not None:
        _refuse_leak(Path(run), index)
    written = 0
    with folder_beside(out) as folder:
        for batch in generate(generator, count, seed):
            for x in batch:
                write_png(folder / FOLDER / f"{name}-{written:06}.png", to_pixels(x))
                written += 1
                if progress:
                    progress(written, count)
    manifest.write(out / MANIFEST)
    return Samples(out, manifest, count, generator.size)


def _manifest(out: Path, names: Sequence[str], dataset: str, index: Manifest | None) -> Manifest:
    """The samples' rows, after those of ``index``, checked before the first sample is drawn."""
    splits = spread(len(names), SHARES if index is None else _shares(index))
    rows = [
        {"id": (own := f"{dataset}/{MANIPULATION}/{name}"), "path": f"{FOLDER}/{name}.png", "label": FAKE, "video": own,
         "identity": own, "manipulation": MANIPULATION, "dataset": dataset, "split": split}
        for name, split in zip(names, splits, strict=True)
    ]  # fmt: skip
    made = Manifest.from_rows(rows, out)
    whole = made if index is None else merge([index, made])
    whole.check(files=False)
    return whole


def spread(count: int, shares: Mapping[str, float]) -> list[str]:
    """A split for each of ``count`` samples, as close to the shares as can be after each; it does not change when more
    are drawn."""
    given = dict.fromkeys(shares, 0)
    splits = []
    for number in range(1, count + 1):
        split = max(given, key=lambda name: shares[name] * number - given[name])
        given[split] += 1
        splits.append(split)
    return splits


def _shares(index: Manifest) -> dict[str, float]:
    split = index.select(label=REAL).column("split")
    counts = {name: int((split == name).sum()) for name in SPLITS if name}
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items() if count} if total else {"": 1.0}


def _refuse_leak(run: Path, index: Manifest) -> None:
    """The generator may have learnt its training people by heart: none of them may be measured on."""
    path = (run if run.is_dir() else run.parent) / PEOPLE
    if not path.is_file():
        raise ConfigError(f"{path} is not there, so nobody knows who the generator learnt from; name its run folder")
    measured = index.select(split=["validation", "test"])
    if len(measured) and (people := shared_people(Manifest.read(path), measured)):
        raise DataError(
            f"leak: the generator was trained on {len(people)} people of the validation or test rows, such as "
            f"{people[0]!r}; train it on the training rows of this manifest"
        )
