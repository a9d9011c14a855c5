"""Judges of answers behind one protocol, in three tiers. ``judge(name)`` gives one, ``available()`` says what there is.

1. ``keyword``: refusal by keyword list, a lower bound with its measured recall beside it.
2. ``offline-harm``, ``offline-refusal``: small linear models trained here from human labels; they ship with harmviz.
3. ``endpoint``, ``endpoint-refusal``: a model behind an OpenAI-compatible address; ``hub-…``: a judge model from a hub,
   run here.

The first two need NumPy only; importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from harmviz.errors import BadSetting
from harmviz.judges.protocol import Judge, JudgeItem, Kind, Measure, Quality, Verdict

__all__ = [
    "Judge",
    "JudgeInfo",
    "JudgeItem",
    "Kind",
    "Measure",
    "Quality",
    "Verdict",
    "available",
    "judge",
]


class JudgeInfo(NamedTuple):
    """One judge: its tier (keyword, offline, endpoint, hub), what it judges, what it needs, whether that is at hand."""

    name: str
    tier: str
    kind: Kind
    needs: str
    at_hand: bool


def available() -> list[JudgeInfo]:
    """All judges, cheapest first. Loads no model and asks no network."""
    from harmviz.judges.cards import CARDS, WEIGHTS
    from harmviz.judges.offline import JUDGES

    listed = [JudgeInfo("keyword", "keyword", "refusal", "nothing", True)]
    kinds: tuple[Kind, ...] = ("harm", "refusal")
    for kind in kinds:
        stored = (JUDGES / f"{kind}.safetensors").is_file()
        listed.append(JudgeInfo(f"offline-{kind}", "offline", kind, "nothing", stored))
    ready = bool(os.environ.get("HARMVIZ_JUDGE_URL") and os.environ.get("HARMVIZ_JUDGE_MODEL"))
    for name, kind in (("endpoint", kinds[0]), ("endpoint-refusal", kinds[1])):
        listed.append(JudgeInfo(name, "endpoint", kind, "HARMVIZ_JUDGE_URL and HARMVIZ_JUDGE_MODEL set", ready))
    needs = f"a GPU, and its model from the hub or in {WEIGHTS}"
    listed += [JudgeInfo(name, "hub", card.kind, needs, False) for name, card in CARDS.items()]
    return listed


def judge(name: str) -> Judge:
    """The judge of this name.

    Raises:
        ValueError: no such judge.
        ModelUnavailable: its address is not to be had.
        DataInvalid: the stored offline judge is damaged.
    """
    if name == "keyword":
        from harmviz.judges.keyword import KeywordJudge

        return KeywordJudge()
    if name in ("offline-harm", "offline-refusal"):
        from harmviz.judges.offline import OfflineJudge, shipped

        return OfflineJudge(shipped("harm" if name == "offline-harm" else "refusal"))
    if name in ("endpoint", "endpoint-refusal"):
        from harmviz.judges.endpoint import EndpointJudge

        return EndpointJudge("harm" if name == "endpoint" else "refusal")
    if name.startswith("hub-"):
        from harmviz.judges.hub import HubJudge

        return HubJudge(name)
    raise BadSetting(f"judge must be one of {', '.join(info.name for info in available())}, got {name!r}")
