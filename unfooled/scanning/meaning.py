"""A scan in plain sentences, for people who have to decide something."""

from __future__ import annotations

from unfooled.scanning.verdict import Scan

TITLES = {
    "fake": "Looks fake", "real": "Looks real", "undecided": "Undecided", "no_face": "No face found",
    "too_short": "Too short", "unreadable": "Can not be read", "refused": "Refused", "no_score": "No score",
}  # fmt: skip


def title(scan: Scan) -> str:
    """Two or three words for the verdict, or for why there is none."""
    return TITLES[scan.verdict or scan.status]


def summary(scan: Scan) -> str:
    """The verdict in one sentence."""
    if scan.verdict is None:
        return f"There is no verdict: {scan.reason}."
    faces = "the face" if len(scan.tracks) == 1 else f"{len(scan.tracks)} faces"
    if scan.verdict == "undecided":
        return f"The score of {faces} lies between the two thresholds: the detector can not tell."
    side = "above the threshold for fake" if scan.verdict == "fake" else "below the threshold for real"
    who = ""
    if len(scan.tracks) > 1:
        rule = "the one that looks most fake" if scan.rule == "max" else "the largest"
        who = f" Of {faces}, {rule} speaks for the file."
    return f"The score of the file lies {side}.{who}"


def does_mean(scan: Scan) -> str:
    """What the verdict says."""
    if scan.verdict is None:
        return "Nothing was measured that could speak for real or fake."
    target = scan.thresholds.target_fpr
    known = (
        f"On the files of its calibration, at most {100 * target:g} % of the real ones got the verdict fake."
        if target is not None
        else "Nobody has measured how often this detector is wrong."
    )
    words = {
        "fake": "Traces like those of the forgeries that the detector learnt were found in a face.",
        "real": "No traces like those of the forgeries that the detector learnt were found in the faces.",
        "undecided": "Some traces were found, too few to call the file fake and too many to call it real.",
    }
    return f"{words[scan.verdict]} {known}"


def does_not_mean(scan: Scan) -> str:
    """What the verdict does not say."""
    if scan.verdict is None:
        return "A file without a verdict is neither real nor fake; look at it in another way."
    if scan.verdict == "fake":
        return (
            "It does not prove that somebody forged the file: filters, strong compression, make-up or an unusual "
            "camera can look alike. Who was accused by a score alone was accused of nothing yet."
        )
    if scan.verdict == "real":
        return (
            "It does not prove that the file is genuine: forgeries of a kind that the detector has never seen, or "
            "noise made to mislead it, pass as real. Sound, text and context were not looked at."
        )
    return "It is not a weak fake, nor a weak real. Ask another detector, a person, or the source of the file."


def margin(scan: Scan) -> str:
    """What turns the verdict."""
    m = scan.margin
    if m is None:
        return "Not asked for." if scan.verdict else "There is no verdict to turn."
    if m.linf_255 is None:
        if m.searched_255:
            return f"No change of up to {m.searched_255:g}/255 was found that turns this verdict."
        return f"{m.attack[:1].upper()}{m.attack[1:]}."
    text = f"A change of at most {m.linf_255:.2g}/255 in every pixel of the face crops turns this verdict."
    if not m.survives_rounding:
        text += " It is smaller than half a grey level, so it is lost when a file is saved with 8 bits a colour."
    if m.fragile:
        return text + " Nobody sees such a change: against somebody who attacks the detector the verdict is fragile."
    return text + " That is what the search found; a smaller change may exist."


def tampering(scan: Scan) -> str:
    """Whether there are signs of adversarial noise."""
    t = scan.tampering
    if t is None:
        return "Not looked for." if scan.verdict else "There is no score that could jump."
    if t.limit is None:
        return f"The score moves by {t.jump:.2g} after mild changes; without a calibration nobody knows what is usual."
    moved = f"After mild changes the score moves {t.jump:.2g} times as far as is usual (flagged beyond {t.limit:.2g})"
    rates = ""
    if t.detection_rate is not None and t.false_alarm_rate is not None:
        rates = (
            f" Measured: at least {100 * t.detection_rate:.0f} % of attacked files were flagged, and "
            f"{100 * t.false_alarm_rate:.1f} % of files that nobody attacked."
        )
    if t.flagged:
        return f"Flagged. {moved}: possibly noise was added to mislead the detector.{rates}"
    return f"No sign. {moved}.{rates}"
