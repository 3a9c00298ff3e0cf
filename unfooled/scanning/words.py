"""What a verdict says in plain words: cautions, and what the detector is and is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unfooled.calibration import Calibration
from unfooled.models.detector import Detector
from unfooled.scanning.options import WHOLE
from unfooled.scanning.points import per_track
from unfooled.scanning.verdict import Scan
from unfooled.scanning.watching import Watched

if TYPE_CHECKING:
    from unfooled.scanning.scanner import Scanner

NOT_CALIBRATED = "not calibrated: nobody has measured how often it calls a real file fake; run unfooled calibrate"
SMALL_NOTE = (
    "A small detector for demonstration, trained and calibrated on forgeries that this project made of old "
    "photographs. Its verdict is no evidence about a file from elsewhere."
)


def note(ships: bool, detector: Detector, calibration: Calibration | None) -> str:
    """What the detector is and is not."""
    if ships:
        return SMALL_NOTE
    kind = detector.spec.get("name", "network")
    if calibration is None:
        return f"A {kind} of your own. It knows forgeries like those it was trained on; others may pass as real."
    kinds = ", ".join(calibration.made_by) or "the fakes of its calibration"
    return f"A {kind} of your own, measured on {kinds}. Forgeries of other kinds may pass as real."


def cautions(scan: Scan, scanner: Scanner, frames: Watched, dark: Sequence[str] = ()) -> list[str]:
    """Plain sentences that belong to a verdict; the weightiest first.

    Args:
        scan: with everything but its cautions.
        scanner: who scanned.
        frames: of the file, after the last one.
        dark: faces of which next to nothing can be seen.
    """
    known, found = scanner.calibration, []
    if known is None:
        found.append(
            "This detector is not calibrated: nobody has measured how often it calls a real file fake. The probability "
            "is a raw score."
        )
    else:
        found.append(
            f"The thresholds were set on {known.data}, not on your material: on other cameras, people or forgeries "
            "the error rates differ."
        )
        if known.n_real * known.target_fpr < 1:
            found.append(
                f"Only {known.n_real} real files stand behind the threshold; they can not show a false-positive rate "
                f"of {100 * known.target_fpr:g} %."
            )
        if known.rule != scan.rule and known.most_tracks > 1:
            found.append(f"The thresholds were set for the rule {known.rule}, this file was judged by {scan.rule}.")
        if scan.rule == "max" and len(scan.tracks) > known.most_tracks:
            found.append(
                f"The file has {len(scan.tracks)} faces, the files of the calibration had at most {known.most_tracks}: "
                "the highest of many scores is often high by chance, so that real files are called fake more often."
            )
        whole = scanner.options.face_detector == WHOLE
        if (known.faces == "given") != whole:
            how = "as they were given" if known.faces == "given" else "as a scan finds them"
            found.append(f"The thresholds were set on face crops {how}, here they were cut another way.")
    found += _of_file(scan, scanner, frames)
    if dark:
        found.append(f"Next to nothing can be seen of face {', '.join(dark)}: too dark to speak for the file.")
    if scan.margin is not None and scan.margin.linf_255 is not None and scan.margin.fragile:
        found.append(
            f"A change of {scan.margin.linf_255:.2g}/255 in every pixel, which nobody sees, turns this verdict: "
            "against somebody who attacks the detector it is worth little."
        )
    if scan.tampering is not None and scan.tampering.flagged:
        found.append(
            "The score jumps after mild changes that leave an honest picture alone: possibly somebody added noise to "
            "mislead the detector."
        )
    return found


def _of_file(scan: Scan, scanner: Scanner, frames: Watched) -> list[str]:
    found, options = [], scanner.options
    if frames.cut_short:
        found.append("The file ends before the length that its header states; what is missing was not seen.")
    if frames.damaged:
        found.append(f"{frames.damaged} damaged places of the file could not be decoded and were passed over.")
    if (
        each := per_track(len(scan.tracks), options.samples, scanner.shape)
    ) < options.samples and not scanner.shape.clip:
        found.append(f"With {len(scan.tracks)} faces only {each} points of each were asked about.")
    if scanner.shape.clip and any(_is_held(t.stop - t.start, scanner) for t in scan.tracks):
        found.append(f"A face is there for less than a clip of {scanner.shape.clip} frames; its last frame was held.")
    smallest = min((p.box[3] - p.box[1] for t in scan.tracks for p in t.points), default=0.0)
    if scan.media is not None and options.face_detector != WHOLE and smallest < 0.5 * scanner.shape.size:
        found.append(
            f"A face is only {smallest:.0f} pixels high; the detector sees it enlarged to {scanner.shape.size}."
        )
    return found


def _is_held(seconds: float, scanner: Scanner) -> bool:
    clip = scanner.shape.clip or 0
    return int(seconds * scanner.shape.fps + 0.05) + 1 < clip
