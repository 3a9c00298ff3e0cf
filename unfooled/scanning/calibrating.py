"""Calibrate a run: score the files of a split as a scan would, fit, and measure the sign of tampering on attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from unfooled.attack_files.clips import to_input
from unfooled.attacks import Attack, describe
from unfooled.attacks.base import frozen
from unfooled.calibration import Calibration, Rate, Tampering, fit, halves, quantile_limit, rate
from unfooled.codecs import quantise, to_pixels
from unfooled.config import build_attack, load_recipe
from unfooled.config.runs import of_split
from unfooled.data.clips import FRAMES, clips
from unfooled.data.images import VIDEO_SUFFIXES, Pixels, fit_square, read_image
from unfooled.data.manifest import FAKE, Manifest
from unfooled.errors import ConfigError, DataError
from unfooled.randomness import seed_of
from unfooled.scanning import tampering
from unfooled.scanning.options import MOST_CLIPS, WHOLE, ScanOptions
from unfooled.scanning.points import Shape
from unfooled.scanning.scanner import Scanner
from unfooled.scanning.scores import logits_of, mean, speaker
from unfooled.scanning.watching import RefusedError, Watched

Faces = Literal["given", "found"]
SUBGROUPS = ("dataset", "collection")
"""Columns that are looked at where they part the files."""
STRONG = "pgd:eps=8/255,steps=10"
USUAL = "pgd:eps=2/255,steps=10"


@dataclass(frozen=True)
class File:
    """One file of the calibration: the rows of a manifest that belong to one ``video``.

    Args:
        name: its key in the manifest.
        label: 0 real, 1 fake.
        facts: column -> value, of its first row.
        tracks: of each face the paths of its samples, one for a crop, more for a clip; empty where faces are found.
        path: the file itself.
    """

    name: str
    label: int
    facts: Mapping[str, str]
    tracks: Mapping[str, list[list[Path]]]
    path: Path


@dataclass(frozen=True)
class Sign:
    """The sign of tampering: what is usual for each mild change, and the multiple of it that is flagged."""

    usual: dict[str, float]
    limit: float

    @classmethod
    def fit(cls, moves: Sequence[Mapping[str, float]], share: float) -> Sign:
        """So that at most a ``share`` of these files is flagged."""
        usual = {name: max(quantile_limit([m[name] for m in moves], share), 1e-6) for name in moves[0]}
        return cls(usual, quantile_limit([max(m[name] / usual[name] for name in usual) for m in moves], share))

    def flags(self, moves: Mapping[str, float]) -> bool:
        """Whether a file with such moves is flagged."""
        return max(moves[name] / self.usual[name] for name in self.usual) > self.limit


@dataclass
class Measured:
    """What was found so far."""

    logits: list[float] = field(default_factory=list)
    moves: list[dict[str, float]] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    most_tracks: int = 0
    lost: list[str] = field(default_factory=list)


def calibrate(
    run: Path,
    data: Path,
    *,
    split: str = "validation",
    target_fpr: float = 0.01,
    options: ScanOptions | None = None,
    faces: Faces | None = None,
    subgroups: Sequence[str] = (),
    attacked: int = 200,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """The calibration of a run on the files of a split; nothing is written.

    Args:
        run: a run folder.
        data: a manifest of face crops, or of videos and pictures.
        split: never ``test``.
        target_fpr: in (0, 0.5]; share of real files that may be called fake.
        options: how files are scanned; rule, samples and face detector count.
        faces: ``given``: the rows are crops as the detector was trained on; ``found``: each row is a file in which
            faces are looked for, as a scan does. None: found where the rows are videos.
        subgroups: further columns of the manifest, by which real files called fake are counted.
        attacked: files that are attacked to measure the sign of tampering, half of them real; 0: none.
        device: of the detector.
        progress: called with (done, total) files.

    Raises:
        ConfigError: the split is ``test`` or unknown, a column is missing, or an option is out of range.
        DataError: the files can not be read, or reals or fakes are missing.
    """
    if split == "test":
        raise ConfigError("thresholds are never fitted on test, whose people are to be unseen; use --split validation")
    options = options or ScanOptions()
    manifest = of_split(Manifest.read(data), split)
    if unknown := [name for name in subgroups if name not in manifest.table.column_names]:
        raise ConfigError(f"--subgroup {unknown[0]} is no column; there are {', '.join(manifest.table.column_names)}")
    how: Faces = faces or _usual(manifest)
    options = replace(options, face_detector=WHOLE) if how == "given" else options
    scanner = Scanner.open(run, options, device, calibrated=False)
    columns = [*subgroups, *(name for name in SUBGROUPS if name not in subgroups)]
    files = list(_files(manifest, how, scanner.shape, options.samples, columns))
    chosen = _chosen(files, attacked)
    total, done = len(files) + len(chosen) * 2, 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    measured = Measured()
    for file in files:
        _measure(scanner, file, measured)
        step()
    if not measured.files:
        raise DataError(f"no file of split {split} could be scored: {measured.lost[0] if measured.lost else 'no row'}")
    y = [file.label for file in measured.files]
    who = [file.facts["who"] for file in measured.files]
    found = fit(
        measured.logits, y, detector=scanner.detector.digest(), data=_name(data), data_digest=manifest.digest(),
        split=split, rule=options.rule, faces=how, samples=options.samples, target_fpr=target_fpr,
        made_by=sorted({f.facts["manipulation"] for f in measured.files if f.label == FAKE} - {""}),
        most_tracks=measured.most_tracks, people=who,
        subgroups={c: v for c in columns if len(set(v := [f.facts[c] for f in measured.files])) > 1 or c in subgroups},
    )  # fmt: skip
    notes = list(found.notes)
    if measured.lost:
        notes.append(f"{len(measured.lost)} files have no score and are not counted, such as {measured.lost[0]}")
    signs = None
    if options.tampering:
        sign = Sign.fit(measured.moves, target_fpr)
        detection = {describe(a): _detected(scanner, chosen, a, sign, step) for a in _attacks(run) if chosen}
        alarm = _crossed(measured.moves, who, target_fpr)
        signs = Tampering(usual=sign.usual, limit=sign.limit, detection=detection, false_alarm=alarm)
    return found.model_copy(update={"tampering": signs, "notes": notes})


def _usual(manifest: Manifest) -> Faces:
    return "found" if str(manifest.column("path")[0]).lower().endswith(VIDEO_SUFFIXES) else "given"


def _name(data: Path) -> str:
    return data.name if data.is_dir() else f"{data.resolve().parent.name}/{data.name}"


def _files(manifest: Manifest, how: Faces, shape: Shape, samples: int, columns: Sequence[str]) -> Iterator[File]:
    manifest = manifest.select(status="ok")
    if how == "given" and shape.clip is not None:
        manifest = clips(manifest, shape.clip, min(samples, MOST_CLIPS), shape.fps)
    names = manifest.table.column_names
    wanted = dict.fromkeys(["video", "identity", "manipulation", "compression", *columns])
    cells: dict[str, Any] = {name: manifest.column(name) for name in wanted}
    tracks = manifest.column("track") if "track" in names else ["0"] * len(manifest)
    frames = manifest.table[FRAMES].to_pylist() if FRAMES in names else [[path] for path in manifest.column("path")]
    labels, order = manifest.column("label"), _order(manifest)
    groups: dict[tuple[str, str], list[int]] = {}
    for k in order:
        # Of a file that faces are looked for in, a row is the file.
        key = str(manifest.column("path")[k]) if how == "found" else str(cells["video"][k])
        groups.setdefault((key, str(cells["compression"][k] or "")), []).append(k)
    for (key, _), rows in groups.items():
        first = rows[0]
        facts = {name: str(values[first] or "") for name, values in cells.items()}
        facts["who"] = facts["identity"] or facts["video"]
        faces: dict[str, list[list[Path]]] = {}
        for k in rows:
            faces.setdefault(str(tracks[k]), []).append([manifest.root / path for path in frames[k]])
        kept = {name: _evenly(paths, samples) for name, paths in faces.items()} if how == "given" else {}
        yield File(key, int(labels[first]), facts, kept, manifest.root / str(manifest.column("path")[first]))


def _order(manifest: Manifest) -> list[int]:
    """Rows in the order of their frames, where the manifest tells it."""
    rows = list(range(len(manifest)))
    if "frame" not in manifest.table.column_names:
        return rows
    frame = manifest.table["frame"].to_pylist()
    return sorted(rows, key=lambda k: (frame[k] is None, frame[k]))


def _evenly(items: list[list[Path]], count: int) -> list[list[Path]]:
    if len(items) <= count:
        return items
    return [items[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]


def _shown(scanner: Scanner, file: File) -> tuple[dict[str, Pixels], dict[str, float]]:
    """Crops of each face, and its area: where the crops are given, its number of samples stands for it."""
    if file.tracks:
        size = scanner.shape.size
        shown = {
            name: np.stack([np.stack([fit_square(read_image(p), size) for p in sample]) for sample in samples])
            for name, samples in file.tracks.items()
        }
        return shown, {name: float(len(samples)) for name, samples in file.tracks.items()}
    frames = Watched(file.path, scanner.options)
    found = scanner.faces(frames)
    if found.status != "ok":
        raise DataError(found.reason)
    seen = scanner.seen(frames, found.tracks)
    return {name: s.pixels for name, s in seen.items()}, {name: s.area for name, s in seen.items()}


def _measure(scanner: Scanner, file: File, measured: Measured) -> None:
    rule = scanner.options.rule
    try:
        shown, areas = _shown(scanner, file)
        means = {k: mean(logits_of(scanner.detector, x, scanner.shape, scanner.device)) for k, x in shown.items()}
        moves: dict[str, float] = {}
        if scanner.options.tampering:
            signs = tampering.after_mild_changes(
                scanner.detector, shown, means, areas, scanner.shape, rule, scanner.device
            )
            moves = tampering.moves(signs)
    except (DataError, RefusedError) as error:
        measured.lost.append(f"{file.name} ({' '.join(str(error).split())[-120:]})")
        return
    measured.logits.append(means[speaker(means, areas, rule)])
    measured.moves.append(moves)
    measured.files.append(file)
    measured.most_tracks = max(measured.most_tracks, len(shown))


def _chosen(files: Sequence[File], count: int) -> list[File]:
    """So many files, half of them real, the same in every run."""
    turn = sorted(files, key=lambda file: seed_of("tampering", file.name))
    return [f for label in (0, 1) for f in [f for f in turn if f.label == label][: count // 2]]


def _attacks(run: Path) -> list[Attack]:
    """PGD at the radius of the recipe's evaluation, and a strong one."""
    folder = run if run.is_dir() else run.parent
    eps = load_recipe(folder).eps if (folder / "recipe.toml").exists() else None
    return [build_attack(f"pgd:eps={eps},steps=10" if eps else USUAL), build_attack(STRONG)]


def _detected(scanner: Scanner, files: Sequence[File], attack: Attack, sign: Sign, step: Callable[[], None]) -> Rate:
    flagged = of = 0
    for file in files:
        step()
        try:
            shown, areas = _shown(scanner, file)
            forced = {name: _forced(scanner, pixels, attack, file.label) for name, pixels in shown.items()}
            means = {k: mean(logits_of(scanner.detector, x, scanner.shape, scanner.device)) for k, x in forced.items()}
            signs = tampering.after_mild_changes(
                scanner.detector, forced, means, areas, scanner.shape, scanner.options.rule, scanner.device
            )
        except (DataError, RefusedError):
            continue
        flagged, of = flagged + sign.flags(tampering.moves(signs)), of + 1
    return rate(flagged, of)


def _forced(scanner: Scanner, pixels: Pixels, attack: Attack, label: int) -> Pixels:
    """The crops after an attack, rounded as a PNG stores them."""
    shape, device = scanner.shape, scanner.device
    found = []
    step = 32 if shape.clip is None else 1
    for k in range(0, len(pixels), step):
        x = to_input(pixels[k : k + step], shape.clip, device)
        with frozen(scanner.detector):
            x_adv = quantise(attack.search(scanner.detector, x, torch.full((len(x),), label, device=x.device)))
        frames = x_adv[:, :, None] if shape.clip is None else x_adv
        found += [np.stack([to_pixels(f) for f in sample.transpose(0, 1)]) for sample in frames]
    return np.stack(found)


def _crossed(moves: Sequence[Mapping[str, float]], people: Sequence[str], share: float) -> Rate:
    """Files that the sign of the other half of the files flags."""
    first = halves(people)
    count = of = 0
    for half in (first, ~first):
        if half.any() and (~half).any():
            sign = Sign.fit([m for m, here in zip(moves, half, strict=True) if not here], share)
            count += sum(sign.flags(m) for m, here in zip(moves, half, strict=True) if here)
            of += int(half.sum())
    return rate(count, of)
