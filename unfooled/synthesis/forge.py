"""Photographs -> a FaceForensics++-shaped folder of real and fake faces, split by person."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image as Pil
from PIL.PngImagePlugin import PngInfo

from unfooled import __version__
from unfooled.errors import ConfigError
from unfooled.randomness import seed_of
from unfooled.registry import lookup
from unfooled.synthesis.casting import FEWEST, FOLDS, Person, cast, check_rounds, pairs
from unfooled.synthesis.eigenfaces import patch
from unfooled.synthesis.forgeries import MANIPULATIONS, Deepfakes, Manipulation
from unfooled.synthesis.photographs import Image, Portrait, read_photographs
from unfooled.synthesis.warps import face_points, polygon

T = TypeVar("T")
R = TypeVar("R")

NOTE = "synthetic test material made by unfooled"
SETTINGS = "forge.json"
LEARNT_FROM = 400
"""Most faces that one autoencoder is fitted on."""


@dataclass(frozen=True)
class Summary:
    """What a run of ``forge`` wrote."""

    out: Path
    real: int
    fake: dict[str, int]
    people: dict[str, int]
    size: int

    def __str__(self) -> str:
        made = ", ".join(f"{name} {n}" for name, n in self.fake.items())
        parts = ", ".join(f"{split} {n}" for split, n in self.people.items())
        return (
            f"{self.real} real and {sum(self.fake.values())} fake faces of {self.size} px ({made}) "
            f"of {sum(self.people.values())} people ({parts}) -> {self.out}"
        )


@dataclass(frozen=True)
class Job:
    """One fake to make."""

    manipulation: str
    target: Person
    donor: Person
    frame: int
    photograph: int
    path: Path


def forge(
    source: Path,
    out: Path,
    *,
    manipulations: Sequence[str] | None = None,
    per_image: int = 1,
    strength: float = 1.0,
    size: int = 96,
    seed: int = 0,
    workers: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Write real and fake faces as FF++ lays them out; the same arguments give the same bytes with any ``workers``.

    Args:
        source: folder of photographs with ``faces.csv`` (file, identity, landmarks; see ``read_photographs``).
        out: new folder; it appears when everything is written and not before.
        manipulations: names of ``MANIPULATIONS``; None = all.
        per_image: fakes of each manipulation for every photograph, each with another donor.
        strength: in [0, 1]; 0 = null forgeries, whose bytes equal the reals'.
        size: height and width of the faces, in pixels, >= 32.
        seed: of splits, pairs and every draw.
        workers: threads; None = one a core, 0 and 1 = none beside this one.
        force: replace ``out`` where it is not empty.
        progress: called with (done, total) faces.

    Raises:
        ConfigError: an unknown manipulation, a number out of range, a non-empty ``out``.
        DataError: what is wrong with the photographs or their table.
    """
    names = sorted(set(manipulations or MANIPULATIONS))
    for name in names:
        lookup("manipulation", MANIPULATIONS, name)
    _check(out, per_image, strength, size, force)
    rng = np.random.default_rng(seed_of(seed, "cast"))
    people = cast(read_photographs(source, FEWEST), rng)
    check_rounds(people, per_image)
    shots = [(p, k) for p in people for k in range(len(p.photographs))]
    total = len(shots) * (1 + per_image * len(names))
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    with _folder_beside(out) as folder, _one_thread_each():
        reals: dict[tuple[str, int], Portrait] = {}
        for key, portrait in _each(partial(_write_real, folder, size), shots, workers, tick):
            reals[key] = portrait
        couples = pairs(people, per_image, {p.id: _tone(reals[p.id, 0]) for p in people}, rng)
        jobs = list(_jobs(names, people, couples, per_image))
        total = len(shots) + len(jobs)
        forgers = _forgers(names, people, reals, couples)
        for _ in _each(partial(_write_fake, folder, forgers, reals, strength, seed), jobs, workers, tick):
            pass
        _write_tables(folder, people, couples)
        settings = {
            "made by": f"unfooled {__version__}", "note": NOTE, "manipulations": names, "per_image": per_image,
            "strength": strength, "size": size, "seed": seed,
        }  # fmt: skip
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
    counts = Counter(j.manipulation for j in jobs)
    return Summary(out, len(shots), dict(counts), dict(Counter(p.split for p in people)), size)


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


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``out`` when all went well, and vanishes when not."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent, ignore_cleanup_errors=True) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        new.mkdir()
        yield new
        if out.is_dir():
            out.replace(old)
        new.replace(out)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV's own threads would only fight with ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _each(do: Callable[[T], R], items: Sequence[T], workers: int | None, tick: Callable[[], None]) -> Iterator[R]:
    """``do`` for every item on some threads; NumPy, OpenCV and the PNG encoder let go of the interpreter lock."""
    count = (os.cpu_count() or 1) if workers is None else workers
    if count <= 1:
        for item in items:
            yield do(item)
            tick()
        return
    pool = ThreadPoolExecutor(count)
    try:
        todo = iter(items)
        running = {pool.submit(do, item) for item in islice(todo, 4 * count)}
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()
                tick()
            running |= {pool.submit(do, item) for item in islice(todo, len(ready))}
    finally:
        pool.shutdown(cancel_futures=True)


def _jobs(
    names: Sequence[str],
    people: Sequence[Person],
    couples: dict[str, list[tuple[Person, Person]]],
    per_image: int,
) -> Iterator[Job]:
    for name in names:
        root = Path("manipulated_sequences") / name / "raw" / "images"
        if MANIPULATIONS[name].of_itself:
            sets = [(p, p) for p in people]
        else:
            sets = [pair for all_pairs in couples.values() for a, b in all_pairs for pair in ((a, b), (b, a))]
        for a, b in sets:
            shots = len(a.photographs)
            for frame in range(shots * (per_image if a is b else 1)):
                yield Job(name, a, b, frame, frame % shots, root / f"{a.id}_{b.id}" / f"{frame:04}.png")


def _tone(portrait: Portrait) -> float:
    """Median lightness of the face."""
    inside = polygon(face_points(portrait.shape, forehead=0.0), len(portrait.image)) > 0.5
    return float(np.median(cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB)[inside][:, 0]))


def _save(image: Image, path: Path, note: str | None = None) -> None:
    info = PngInfo()
    if note is not None:
        info.add_text("Comment", note)
    path.parent.mkdir(parents=True, exist_ok=True)
    Pil.fromarray(image).save(path, pnginfo=info, compress_level=4)


def _write_real(folder: Path, size: int, shot: tuple[Person, int]) -> tuple[tuple[str, int], Portrait]:
    person, k = shot
    portrait = person.photographs[k].portrait(size)
    place = folder / "original_sequences" / person.collection / "raw" / "images" / person.id
    _save(portrait.image, place / f"{k:04}.png")
    return (person.id, k), portrait


def _write_fake(
    folder: Path,
    forgers: Callable[[Job], Manipulation],
    reals: dict[tuple[str, int], Portrait],
    strength: float,
    seed: int,
    job: Job,
) -> None:
    target = reals[job.target.id, job.photograph]
    # The donor's NEXT photograph: who has a neutral and a smiling one lends the other expression.
    shot = job.photograph if job.donor is job.target else (job.photograph + 1) % len(job.donor.photographs)
    rng = np.random.default_rng(seed_of(seed, job.manipulation, job.target.id, job.donor.id, job.frame))
    forged = forgers(job)(target, reals[job.donor.id, shot], rng, strength)
    _save(forged.image, folder / job.path, NOTE)


def _forgers(
    names: Sequence[str],
    people: Sequence[Person],
    reals: dict[tuple[str, int], Portrait],
    couples: dict[str, list[tuple[Person, Person]]],
) -> Callable[[Job], Manipulation]:
    """Which forger makes a job: for Deepfakes the one whose autoencoder saw neither target nor donor.

    Out of fold: every person, of any split, has a fold; the autoencoder of a pair is fitted on the training people of
    its collection in all other folds, always on equally many faces, so no split is reconstructed better.
    """
    plain = {name: MANIPULATIONS[name]() for name in names}
    fitted: dict[tuple[str, frozenset[int]], Manipulation] = {}
    if "Deepfakes" in names:
        base = Deepfakes()
        for collection in sorted({p.collection for p in people}):
            members = [p for p in people if (p.collection, p.split) == (collection, "train")]
            faces = {p.id: [patch(reals[p.id, k]) for k in range(len(p.photographs))] for p in members}
            wanted = {_apart(a, b) for ab in couples.values() for a, b in ab if a.collection == collection}
            seen = {out: [face for p in members if p.fold not in out for face in faces[p.id]] for out in wanted}
            count = min(LEARNT_FROM, *(len(f) for f in seen.values()))
            for out, known in seen.items():
                spread = np.linspace(0, len(known) - 1, count).round().astype(int)
                fitted[collection, out] = base.fit(np.stack([known[int(i)] for i in spread]))

    def choose(job: Job) -> Manipulation:
        if job.manipulation != "Deepfakes":
            return plain[job.manipulation]
        return fitted[job.target.collection, _apart(job.target, job.donor)]

    return choose


def _apart(a: Person, b: Person) -> frozenset[int]:
    """Two folds to leave out: those of a and b, or the next one where they share theirs."""
    return frozenset((a.fold, b.fold if b.fold != a.fold else (a.fold + 1) % FOLDS))


def _write_tables(folder: Path, people: Sequence[Person], couples: dict[str, list[tuple[Person, Person]]]) -> None:
    (folder / "splits").mkdir()
    for split, ab in couples.items():
        (folder / "splits" / f"{split}.json").write_text(json.dumps([[a.id, b.id] for a, b in ab], indent=1) + "\n")
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines)
        table.writerow(["id", "identity", "collection"])
        table.writerows([p.id, p.identity, p.collection] for p in people)
