"""Photographs or drawn people -> a FaceForensics++-shaped folder of real and fake faces, split by person."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unfooled import __version__
from unfooled.codecs import NOTE
from unfooled.errors import ConfigError
from unfooled.randomness import seed_of
from unfooled.registry import lookup
from unfooled.synthesis.casting import Person, cast, check_rounds, pairs, takes
from unfooled.synthesis.flicker import FLICKER
from unfooled.synthesis.forgeries import MANIPULATIONS
from unfooled.synthesis.jobs import Couples, Forger, jobs_of, swaps
from unfooled.synthesis.photographs import Portrait
from unfooled.synthesis.sources import find
from unfooled.synthesis.warps import face_points, polygon
from unfooled.synthesis.writing import Reals, each, folder_beside, one_thread_each, save

SETTINGS = "forge.json"


@dataclass(frozen=True)
class Summary:
    """What a run of ``forge`` wrote; ``frames`` is the length of a clip, None for photographs as they are."""

    out: Path
    real: int
    fake: dict[str, int]
    people: dict[str, int]
    size: int
    frames: int | None = None

    def __str__(self) -> str:
        made = ", ".join(f"{name} {n}" for name, n in self.fake.items())
        parts = ", ".join(f"{split} {n}" for split, n in self.people.items())
        what = "faces" if self.frames is None else "frames"
        clips = "" if self.frames is None else f" in clips of {self.frames}"
        return (
            f"{self.real} real and {sum(self.fake.values())} fake {what} of {self.size} px{clips} ({made}) "
            f"of {sum(self.people.values())} people ({parts}) -> {self.out}"
        )


def forge(
    source: Path | str,
    out: Path,
    *,
    people: int | None = None,
    frames: int | None = None,
    flicker: float | None = None,
    manipulations: Sequence[str] | None = None,
    per_image: int = 1,
    strength: float = 1.0,
    size: int = 96,
    margin: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Write real and fake faces as FF++ lays them out; the same arguments give the same bytes with any ``workers``.

    Args:
        source: the text ``portraits`` for drawn people, or a folder of photographs with ``faces.csv`` (file, identity,
            landmarks; see ``read_photographs``).
        out: new folder; it appears when everything is written and not before.
        people: how many drawn people, >= 9; None = 60. Photographs bring their own.
        frames: frames of a clip, >= 1. None = 32 for drawn people, and photographs as they are; a number makes a clip
            of every photograph.
        flicker: in [0, 1], how much a manipulation changes from frame to frame of a clip; 0 = not at all, None = .15.
        manipulations: names of ``MANIPULATIONS``; None = all.
        per_image: fakes of each manipulation for every picture, each with another donor.
        strength: in [0, 1]; 0 = null forgeries, whose bytes equal the reals'.
        size: height and width of the faces, in pixels, >= 32.
        margin: photographs only: faces are turned upright and framed as ``prepare`` frames those of videos with this
            margin (1.3), so that a detector trained on them fits what ``scan`` shows it; None = a close square.
        seed: of drawn people, splits, pairs and every draw.
        workers: threads; None = one a core, 0 and 1 = none beside this one.
        force: replace ``out`` where it is not empty.
        progress: called with (done, total) faces.

    Raises:
        ConfigError: an unknown manipulation, a number out of range, an option that the source does not have, a
            non-empty ``out``.
        DataError: what is wrong with the photographs or their table.
    """
    names = sorted(set(manipulations or MANIPULATIONS))
    for name in names:
        lookup("manipulation", MANIPULATIONS, name)
    _check(out, per_image, strength, size, force)
    found = find(source, people, frames, seed, margin)
    share = _flicker(flicker, found.frames)
    rng = np.random.default_rng(seed_of(seed, "cast"))
    everybody = cast(found.shots, rng, found.frames)
    check_rounds(everybody, per_image)
    videos = [video for p in everybody for video in takes(p, found.frames)]
    real = len(found.shots)
    total = real * (1 + per_image * len(names))
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        for _ in range(more):
            done += 1
            if progress is not None:
                progress(done, total)

    with folder_beside(out) as folder, one_thread_each():
        reals = Reals(folder, size)
        for written in each(reals.write, videos, workers):
            tick(written)
        tone = {p.id: _tone(reals[p.id, 0]) for p in everybody}
        couples = {
            split: [pair for a, b in ab for pair in swaps(a, b, found.frames)]
            for split, ab in pairs(everybody, per_image, tone, rng).items()
        }
        jobs = list(jobs_of(names, videos, couples, per_image))
        total = real + len(jobs)
        forger = Forger(videos, reals, couples, names, strength, seed, share)
        for _ in each(lambda job: save(forger(job), folder / job.path, NOTE), jobs, workers):
            tick(1)
        _write_tables(folder, videos, couples)
        framed = {} if margin is None else {"margin": margin}
        clips = {} if found.frames is None else {"people": len(everybody), "frames": found.frames, "flicker": share}
        settings = {
            "made by": f"unfooled {__version__}", "note": NOTE, "source": found.name, "manipulations": names,
            "per_image": per_image, "strength": strength, "size": size, "seed": seed, **framed, **clips,
        }  # fmt: skip
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
    counts = Counter(j.manipulation for j in jobs)
    return Summary(out, real, dict(counts), dict(Counter(p.split for p in everybody)), size, found.frames)


def _check(out: Path, per_image: int, strength: float, size: int, force: bool) -> None:
    if per_image < 1:
        raise ConfigError(f"per_image must be >= 1, got {per_image}")
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength must be in [0, 1], got {strength:g}; write 1 for the full forgery")
    if size < 32:
        raise ConfigError(f"size must be >= 32 pixels, got {size}; write 96")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        if not force:
            raise ConfigError(f"{out} is not empty; choose a new folder or say --force (force=True) to replace it")
        # Force must not cost anybody a folder of something else.
        if not (out / SETTINGS).is_file():
            raise ConfigError(f"{out} holds no {SETTINGS}, so forge did not write it; choose a new folder")


def _flicker(flicker: float | None, frames: int | None) -> float | None:
    """How much a clip flickers, None for photographs as they are."""
    if flicker is not None and not 0 <= flicker <= 1:
        raise ConfigError(f"flicker must be in [0, 1], got {flicker:g}; write {FLICKER} or leave it out")
    if frames is None:
        if flicker is not None:
            raise ConfigError("flicker needs clips, but photographs stay as they are; add --frames 16 (frames=16)")
        return None
    return FLICKER if flicker is None else flicker


def _tone(portrait: Portrait) -> float:
    """Median lightness of the face."""
    inside = polygon(face_points(portrait.shape, forehead=0.0), len(portrait.image)) > 0.5
    return float(np.median(cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB)[inside][:, 0]))


def _write_tables(folder: Path, videos: Sequence[Person], couples: Couples) -> None:
    (folder / "splits").mkdir()
    for split, ab in couples.items():
        listed: dict[frozenset[str], list[str]] = {}
        for a, b in ab:
            listed.setdefault(frozenset((a.id, b.id)), [a.id, b.id])
        (folder / "splits" / f"{split}.json").write_text(json.dumps(list(listed.values()), indent=1) + "\n")
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines)
        table.writerow(["id", "identity", "collection"])
        table.writerows([v.id, v.identity, v.collection] for v in videos)
