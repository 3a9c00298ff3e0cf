"""The support set of post-training: training samples, their features, and which of them lie near an anchor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unfooled.attacks.base import frozen
from unfooled.codecs import eight_bits
from unfooled.defenses.base import Pool
from unfooled.errors import ConfigError, DataError
from unfooled.files import replacing
from unfooled.models.detector import Detector
from unfooled.randomness import generators, seed_of

PAIRS_OF = 1000
"""Samples whose pairs tell what a cosine usually is: half a million pairs."""
LOOKED_AT = 32
"""Samples whose pixels are looked at again before remembered features are believed."""
SEARCHED = 100_000
"""Samples compared with anchors at once. The search is exact at any number: an approximate index could miss neighbours,
and the comparison of a batch with a million samples is one matrix product of less than a second."""


def identity(detector: Detector) -> str:
    """What decides a detector's features, as text: weights, and what its state dict does not hold."""
    facts = [detector.digest(), detector.size, detector.mean.tolist(), detector.std.tolist()]
    return json.dumps([*facts, getattr(detector.head, "scale", None)])


@dataclass(frozen=True, eq=False)
class Support:
    """Samples to tune on, embedded once by the detector that they defend.

    Args:
        pool: where their pixels are.
        rows: (N,) int64 positions in the pool.
        y: (N,) int64, both classes.
        features: (N, D) of the plain detector.
        contents: (N,) int64, a digest of each sample's pixels.
        detector: ``identity`` of the one whose features they are.
    """

    pool: Pool
    rows: Tensor
    y: Tensor
    features: Tensor
    contents: Tensor
    detector: str

    @classmethod
    def of(
        cls, detector: Detector, pool: Pool, rows: Sequence[int], batch_size: int = 64, keep: Path | None = None
    ) -> Support:
        """The samples ``rows`` of the pool; those that do not decode are left out.

        Args:
            keep: a folder where the features are kept under the digests of detector, pool and rows.

        Raises:
            DataError: what decodes is not of both classes.
        """
        facts = [identity(detector), pool.digest(), *rows]
        name = hashlib.blake2b("\x1f".join(map(str, facts)).encode(), digest_size=16).hexdigest()
        path = keep / f"{name}.safetensors" if keep else None
        known = _read(path, pool)
        found = known or _embed(detector, pool, rows, batch_size)
        y = torch.from_numpy(pool.labels)[found["rows"]].to(torch.int64)
        if len(set(y.tolist())) < 2:
            held = "no readable sample" if not len(y) else f"{len(y)} {'fakes' if y[0] else 'reals'} only"
            raise DataError(f"a support set must hold reals and fakes, got {held}; give training data that has both")
        if path is not None and known is None:
            _write(path, found)
        return cls(pool, found["rows"], y, found["features"], found["contents"], identity(detector))

    def refuse(self, x: Tensor) -> None:
        """Stop where a row of ``x`` is itself in the support set: its answer would be known beforehand.

        Raises:
            DataError: it is.
        """
        leaked = torch.isin(contents(x), self.contents)
        if leaked.any():
            raise DataError(
                f"leak: the support set holds {int(leaked.sum())} of the {len(x)} tested samples themselves; draw it"
                " from training data that were kept apart"
            )

    def near(self, anchors: Tensor, tau: float) -> Tensor:
        """(B, N) which samples have a cosine above ``tau``, strictly, with each of the (B, D) anchors."""
        parts = torch.split(self.features, SEARCHED)
        return torch.cat([cosines(anchors, part.to(anchors)) > tau for part in parts], 1)

    def drawn(self, x: Tensor, per_class: int, seed: int) -> Tensor:
        """(B, N) a balanced random choice of its own for every row of ``x``, decided by its content."""
        chosen = torch.zeros(len(x), len(self.y), dtype=torch.bool)
        classes = [(self.y == y).nonzero().squeeze(1) for y in (0, 1)]
        count = min(per_class, *map(len, classes))
        for row, generator in enumerate(generators(x, seed, "support")):
            for own in classes:
                chosen[row, own[torch.randperm(len(own), generator=generator)[:count]]] = True
        return chosen.to(x.device)

    def usual(self, percentile: float, seed: int) -> float:
        """The percentile of the cosines between two different samples, at most ``PAIRS_OF`` of them."""
        generator = torch.Generator().manual_seed(seed_of(seed, "pairs"))
        some = self.features[torch.randperm(len(self.features), generator=generator)[:PAIRS_OF]]
        first, second = torch.triu_indices(len(some), len(some), 1)
        return float(torch.quantile(cosines(some, some)[first, second].double(), percentile / 100))

    def pixels(self, chosen: Tensor, like: Tensor) -> Tensor:
        """(n, ...) in [0, 1] of the samples at ``chosen``, of the type and on the device of ``like``."""
        return _load(self.pool, self.rows[chosen.cpu()].tolist()).to(like)


def balanced(pool: Pool, per_class: int, seed: int) -> list[int]:
    """Positions of a random choice with as many reals as fakes, at most ``per_class`` each, that decode.

    Raises:
        DataError: a class is missing.
    """
    found: list[list[int]] = []
    for y in (0, 1):
        own = np.flatnonzero(pool.labels == y)
        generator = torch.Generator().manual_seed(seed_of(seed, "support", y))
        order = own[torch.randperm(len(own), generator=generator).numpy()].tolist()
        found.append([])
        for position in order:
            if len(found[-1]) == per_class:
                break
            if _readable(pool, position):
                found[-1].append(position)
    count = min(map(len, found))
    if not count:
        there = [name for name, own in zip(("reals", "fakes"), found, strict=True) if own]
        raise DataError(
            f"a support set must hold reals and fakes, got {there[0] if there else 'nothing'} only; give training data"
            " that has both"
        )
    return sorted(found[0][:count] + found[1][:count])


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """(A, B) cosines of the rows of two matrices, in [-1, 1]; 0 for a zero row."""
    return (F.normalize(a, dim=1) @ F.normalize(b, dim=1).t()).clamp(-1, 1)


def contents(x: Tensor) -> Tensor:
    """(B,) int64 digests of samples in [0, 1] as 8 bits."""
    rows = eight_bits(x)
    digests = [hashlib.blake2b(str(row.shape).encode() + row.tobytes(), digest_size=8).digest() for row in rows]
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests], dtype=torch.int64)


def _readable(pool: Pool, position: int) -> bool:
    try:
        pool[position]
    except DataError:
        return False
    return True


def _load(pool: Pool, rows: Sequence[int]) -> Tensor:
    # As a loader does it, so that the pixels are the same to the last bit.
    return torch.stack([pool[row] for row in rows]).to(torch.float32).div_(255)


def _embed(detector: Detector, pool: Pool, rows: Sequence[int], batch_size: int) -> dict[str, Tensor]:
    kept = [row for row in rows if _readable(pool, row)]
    features, seen = [], []
    with torch.inference_mode(False), torch.no_grad(), frozen(detector):
        for first in range(0, len(kept), batch_size):
            x = _load(pool, kept[first : first + batch_size])
            found = detector.features(x.to(detector.threshold))
            if found.isnan().any():
                raise ConfigError("the detector gives NaN for features of the support set; its weights are broken")
            features.append(found.cpu())
            seen.append(contents(x))
    return {
        "rows": torch.tensor(kept, dtype=torch.int64),
        "features": torch.cat(features) if features else torch.empty(0, 1),
        "contents": torch.cat(seen) if seen else torch.empty(0, dtype=torch.int64),
    }


def _read(path: Path | None, pool: Pool) -> dict[str, Tensor] | None:
    """What ``_write`` kept; None where there is nothing whole, or the files have changed under their names."""
    try:
        found = load_file(path) if path and path.exists() else {}
    except (SafetensorError, OSError):
        return None
    if not {"rows", "features", "contents"} <= found.keys() or len({len(v) for v in found.values()}) != 1:
        return None
    some = torch.linspace(0, len(found["rows"]) - 1, min(LOOKED_AT, len(found["rows"]))).long()
    try:
        now = contents(_load(pool, found["rows"][some].tolist()))
    except (DataError, IndexError, RuntimeError):
        return None
    return found if torch.equal(now, found["contents"][some]) else None


def _write(path: Path, found: dict[str, Tensor]) -> None:
    try:
        with replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in found.items()}, temporary)
    except OSError:
        return  # a run on a disk that takes no files is defended all the same, only not remembered
