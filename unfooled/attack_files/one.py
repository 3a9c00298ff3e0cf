"""One image: attacked, written, and asked about again from the file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unfooled.attack_files.inputs import UnfitError
from unfooled.attack_files.outcome import STAGES
from unfooled.attacks import Attack
from unfooled.attacks.base import Worst, counted, wrong_way
from unfooled.codecs import NOTE, Pixels, encode_png, round_trip, to_pixels, to_tensor
from unfooled.data.images import read_image
from unfooled.data.manifest import FAKE, REAL
from unfooled.errors import DataError
from unfooled.files import replacing
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox, BudgetSpent
from unfooled.threats import L2, Linf


def attack_one(
    pixels: Pixels, detector: Detector, attack: Attack, target: Path, label: str, fake_only: bool, device: str
) -> dict[str, Any]:
    """Attack an image, write the PNG and describe it; the file appears whole or not at all.

    Where the budget of a black box ends in the middle, the most harmful image that it has answered for is taken.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        detector: in evaluation mode on ``device``.
        attack: what searches.
        target: the PNG.
        label: ``fake``, ``real`` or ``auto``.
        fake_only: pass over an image that is not called fake.
        device: of the detector.

    Returns:
        The row: status, label, extent, and for each stage score, logit, success and distances; ``written`` tells
        whether there is a file.

    Raises:
        UnfitError: the detector can not take an image of this extent.
        BudgetSpent: not even the image itself could be asked for.
    """
    x = to_tensor(pixels)[None].to(device)
    try:
        before = _ask(detector, x)
    except DataError as error:
        raise UnfitError("no score", f"has no score: {error}") from None
    except RuntimeError as error:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise UnfitError(
            "refused", f"has {size} pixels, which the detector can not take ({first_line(error)}); try --size"
        ) from None
    threshold = float(detector.threshold)
    y = int(before > threshold) if label == "auto" else (FAKE if label == "fake" else REAL)
    row: dict[str, Any] = {
        "status": "ok", "label": "fake" if y == FAKE else "real", "width": pixels.shape[1], "height": pixels.shape[0],
        "right_before": (before > threshold) == (y == FAKE),
        "score": {"before": probability(before)}, "logit": {"before": before},
    }  # fmt: skip
    if fake_only and before <= threshold:
        return row | {"status": "passed over"}
    row |= {"success": dict.fromkeys(STAGES), "linf_255": {}, "l2": {}, "queries": None}
    try:
        x_adv, after = _search(detector, attack, x, torch.tensor([y], device=device), row)
    except (DataError, RuntimeError, MemoryError) as error:
        # One image that fails (no memory for its size) must not stop the others.
        reason = f"{target.stem}: the attack failed ({first_line(error)})"
        return row | {"status": "failed", "reason": reason, "success": dict.fromkeys(STAGES, False)}
    with replacing(target) as temporary:
        temporary.write_bytes(encode_png(to_pixels(x_adv[0]), NOTE))
    saved = to_tensor(read_image(target))[None].to(device)
    for stage, there in (("after", x_adv), ("saved", saved)):
        row["linf_255"][stage] = round(255 * Linf(math.inf).distance(there - x).item(), 3)
        row["l2"][stage] = round(L2(math.inf).distance(there - x).item(), 5)
    logits = {"after": after}
    try:
        logits["saved"] = _ask(detector, saved)
        for quality in (90, 75):
            logits[f"jpeg{quality}"] = _ask(detector, round_trip(saved, "jpeg", quality))
    except BudgetSpent as error:
        row |= {"status": "budget", "reason": str(error)}
    for stage in STAGES:
        logit = logits.get(stage)
        row["logit"][stage] = logit
        row["score"][stage] = None if logit is None else probability(logit)
        row["success"][stage] = None if logit is None else (logit > threshold) != (y == FAKE)
    return row | {"written": True}


def _search(detector: Detector, attack: Attack, x: Tensor, y: Tensor, row: dict[str, Any]) -> tuple[Tensor, float]:
    """What the attack found and its logit; the row learns of queries and of a spent budget."""
    if not isinstance(detector, BlackBox):
        found = attack(detector, x, y)
        row["queries"] = int(found.queries.item())
        return found.x, found.logits.item()
    with _most_harmful(detector, attack, x, row["logit"]["before"], y) as worst, counted(detector) as rows:
        try:
            found = attack(detector, x, y)
        except BudgetSpent as error:
            row |= {"status": "budget", "reason": str(error), "queries": int(rows().item())}
            return worst.x, (wrong_way(y, worst.harm) * worst.harm).item()
    row["queries"] = int(found.queries.item())
    return found.x, found.logits.item()


@contextmanager
def _most_harmful(detector: Detector, attack: Attack, x: Tensor, before: float, y: Tensor) -> Iterator[Worst]:
    """The most harmful of all images inside the threat that the detector answers for meanwhile, x itself included."""
    worst = Worst(x, y)
    worst.see(x, x.new_tensor([before]))

    def note(_: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        asked = inputs[0].detach()
        if asked.shape[1:] == x.shape[1:]:
            inside = attack.threat.distance(asked - x) <= attack.threat.eps + 1e-6
            for k in inside.nonzero().flatten().tolist():
                worst.see(asked[k : k + 1], logits[k : k + 1])

    hook = detector.register_forward_hook(note)
    try:
        yield worst
    finally:
        hook.remove()


def _ask(detector: Detector, x: Tensor) -> float:
    with torch.no_grad():
        logit = float(detector(x).item())
    if math.isnan(logit):
        raise DataError("the detector answered NaN; its weights are broken")
    # JSON knows no infinity.
    return max(min(logit, 1e30), -1e30)


def probability(logit: float) -> float:
    """P(fake) of a logit."""
    return torch.sigmoid(torch.tensor(logit, dtype=torch.float64)).item()


def first_line(error: Exception) -> str:
    """What an error says, short enough for a row."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
