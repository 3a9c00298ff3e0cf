"""What results under a defense say about each other."""

from __future__ import annotations

from collections.abc import Sequence

from unfooled.results import ConditionResult

AUCS = ("robust/both/frame_auc", "robust/fakes_only/frame_auc")


def defending_warnings(results: Sequence[ConditionResult]) -> list[str]:
    """A defense that only an oblivious adversary has met, and an adaptive attack that found less than a static one."""
    found = []
    for defense in {r.defense: None for r in results if r.defense is not None and r.attack is not None}:
        own = [r for r in results if r.defense == defense and r.attack is not None and r.distortion is None]
        adaptive = {r.attack: r for r in own if r.adaptive}
        if not adaptive:
            found.append(
                f"{defense} has met attacks on the plain detector alone; they say nothing about an adversary who knows"
                " the defense: add --adaptive"
            )
        for static in own:
            known = adaptive.get(static.attack)
            if static.adaptive or known is None:
                continue
            before, after = _auc(static), _auc(known)
            if before is not None and after is not None and after > before:
                found.append(
                    f"{known.name} left an AUC of {after:.3f}, the same attack on the plain detector {before:.3f}: the"
                    " adaptive attack is too weak, or the defense hides its gradient; the lower number is the one that"
                    " counts"
                )
    return found


def _auc(result: ConditionResult) -> float | None:
    return next((result.metrics[name].value for name in AUCS if name in result.metrics), None)
