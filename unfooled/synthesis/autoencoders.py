"""Autoencoders for Deepfakes, each fitted on people that its fakes do not show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unfooled.synthesis.casting import FOLDS, Person
from unfooled.synthesis.eigenfaces import patch
from unfooled.synthesis.forgeries import Deepfakes
from unfooled.synthesis.photographs import Portrait
from unfooled.synthesis.warps import Float

LEARNT_FROM = 400
"""Most faces that one autoencoder is fitted on."""


class OutOfFold:
    """For any pair of people the Deepfakes forger whose autoencoder saw neither.

    Every person, of any split, has a fold; the autoencoder of a pair is fitted on the training people of its collection
    in all other folds, always on equally many faces, so no split is reconstructed better.

    Args:
        people: everybody, once for every video.
        face: a frame of them by number of the video and of the frame.
        couples: pairs of videos that will be forged.
    """

    def __init__(
        self,
        people: Sequence[Person],
        face: Callable[[str, int], Portrait],
        couples: Sequence[tuple[Person, Person]],
    ) -> None:
        self._fitted: dict[tuple[str, frozenset[int]], Deepfakes] = {}
        base = Deepfakes()
        for collection in sorted({p.collection for p in people}):
            members = [p for p in people if (p.collection, p.split) == (collection, "train")]
            wanted = {_apart(a, b) for a, b in couples if a.collection == collection}
            seen = {
                out: [(p.id, k) for p in members if p.fold not in out for k in range(len(p.shots))] for out in wanted
            }
            count = min(LEARNT_FROM, *(len(keys) for keys in seen.values()))
            patches: dict[tuple[str, int], Float] = {}
            for out, keys in seen.items():
                chosen = [keys[int(i)] for i in np.linspace(0, len(keys) - 1, count).round()]
                patches |= {key: patch(face(*key)) for key in chosen if key not in patches}
                self._fitted[collection, out] = base.fit(np.stack([patches[key] for key in chosen]))

    def __call__(self, target: Person, donor: Person) -> Deepfakes:
        return self._fitted[target.collection, _apart(target, donor)]


def _apart(a: Person, b: Person) -> frozenset[int]:
    """Two folds to leave out: those of a and b, or the next one where they share theirs."""
    return frozenset((a.fold, b.fold if b.fold != a.fold else (a.fold + 1) % FOLDS))
