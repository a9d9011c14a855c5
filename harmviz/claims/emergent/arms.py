"""What the arms of narrow tuning are called, and the stages of one at work. Light: the list of claims imports it."""

from __future__ import annotations

import re

BASE, BAD, GOOD, PRUNED, REGROW = "base", "narrow-bad", "narrow-good", "pruned-held", "pruned-regrow"
#: Arm → (what it reads as, how it is drawn). Doses of ``PRUNED`` are ``pruned-held@<q>``.
ARMS = {
    BASE: ("before tuning", "base"),
    BAD: ("bad advice", "bad"),
    GOOD: ("good advice", "good"),
    PRUNED: ("bad, harm weights pruned", "pruned"),
    REGROW: ("bad, harm weights pruned, may regrow", "pruned"),
    "random-held": ("bad, random weights pruned", "control"),
    "benign-held": ("bad, benign-signed weights pruned", "control"),
}
_DOSE = re.compile(rf"{PRUNED}@([0-9.e+-]+)")


def dose_of(arm: str) -> float | None:
    match = _DOSE.fullmatch(arm)
    try:
        return float(match[1]) if match and float(match[1]) > 0 else None
    except ValueError:
        return None


def arm_name(arm: str) -> str:
    """How an arm reads; its own name where it is not known."""
    if arm in ARMS:
        return ARMS[arm][0]
    q = dose_of(arm)
    # All digits: two doses that read alike could not be told apart in a choice.
    return arm if q is None else f"{ARMS[PRUNED][0]}, {f'{100 * q:.9f}'.rstrip('0').rstrip('.')} %"


def stage_words(stage: str) -> str:
    """``train.narrow-bad-0.10`` → ``training: bad advice, seed 0``; the stage's own name where it is another."""
    match = re.fullmatch(r"(train|measure|change)\.(.+?)(?:-(\d+))?(?:\.\d+)?", stage)
    if match is None:
        kind = stage.partition(".")[0]
        return {
            "score": "scoring",
            "masks": "selecting weights",
            "rows": "writing results",
            "transcripts": "writing results",
        }.get(kind, stage or "starting")
    what, arm, seed = match.groups()
    doing = {"train": "training", "measure": "measuring", "change": "comparing weights"}[what]
    return f"{doing}: {arm_name(arm.replace('+', '@'))}" + ("" if seed is None else f", seed {seed}")
