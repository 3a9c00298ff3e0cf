"""What the curves of a run say went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from unfooled.training.folder import Record

CROSS_ENTROPIES = ("bce", "bce_adv", "dcl")


def failure_signatures(history: Sequence[Record], *, logit_scale: float | None = None) -> list[str]:
    """What a finished run's curves say went wrong; empty for a healthy run.

    Args:
        history: one record an epoch, as in metrics.jsonl.
        logit_scale: scale of a cosine head; None for other heads.
    """
    found: list[str] = []
    if not history:
        return found
    last, aucs = history[-1], [r["val_clean_auc"] for r in history]
    if max(aucs) < 0.6 or aucs[-1] < 0.55:
        loss = sum(last.get(name, 0.0) for name in CROSS_ENTROPIES)
        stays = f", the cross-entropy stays at {loss:.2f} (chance is .69)" if loss > 0.6 else ""
        found.append(
            f"never left chance: clean AUC on validation ends at {aucs[-1]:.2f}{stays}; start from a trained "
            "undefended detector (init) or with training.clean_epochs, and raise eps slowly (training.ramp_epochs)"
        )
    if _cosines_fell_alone(history):
        found.append(
            "L_asl falls while robust AUC stays flat: the features grow alike without getting robust; raise beta1 "
            "(16 to 64 with features after a ReLU) or take features = 'linear'"
        )
    if last.get("cos_real_fake", 0.0) > 0.95:
        found.append(
            f"cos(real, fake) is near 1 ({last['cos_real_fake']:.3f}): cosines have no room to tell the classes apart; "
            "take features = 'linear' or raise beta2"
        )
    if logit_scale is not None and logit_scale * last.get("cos_weight", 0.0) > 15:
        found.append(
            f"the cosine head saturates: mean |logit| is about {logit_scale * last['cos_weight']:.0f}, where the "
            "cross-entropy has no gradient left and attacks on it look weak; lower detector.scale"
        )
    if max(record.get("eps_share", 1.0) for record in history) < 1:
        found.append(
            "the adversary never reached its full eps, so this is no detector trained against it; give more epochs "
            "than training.clean_epochs + training.ramp_epochs"
        )
    robust = [r["val_robust_auc"] for r in history if r["eps"] > 0 and r.get("val_robust_auc") is not None]
    if robust and max(robust) < 0.5:
        found.append(
            f"robust AUC on validation never passed .5 (best {max(robust):.2f}): the adversary still turns the ranking "
            "around; train longer, ramp eps more slowly, or check that a smaller eps works first"
        )
    return found


def _cosines_fell_alone(history: Sequence[Record]) -> bool:
    full = max(record["eps"] for record in history)
    rows = [r for r in history if full > 0 and r["eps"] == full and "asl" in r and r.get("val_robust_auc") is not None]
    if len(rows) < 4:
        return False
    third = max(1, len(rows) // 3)
    start, end = rows[:third], rows[-third:]

    def mean(records: Sequence[Record], key: str) -> float:
        return sum(float(r[key]) for r in records) / len(records)

    return (
        mean(end, "asl") < 0.7 * mean(start, "asl")
        and mean(end, "val_robust_auc") < mean(start, "val_robust_auc") + 0.02
    )
