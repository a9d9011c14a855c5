"""Series of published checkpoints of one model, by name: base, stages of training, final.

Names and revisions are those that public code and model cards pin. ``@`` is followed by a commit or by a branch that
the publisher keeps for one training step; without it the hub's current files are taken. Whatever is taken, its commit
and the hash of its weights stand in the result's manifest. Nothing is fetched before the series is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harmviz.errors import BadSetting

_OLMO = "allenai/Olmo-3-1025-7B"


class Stage(NamedTuple):
    """One checkpoint of a series: how the axis names it, and the model's name for ``models.load.load_model``."""

    label: str
    model: str


PRESETS: dict[str, tuple[Stage, ...]] = {
    "olmo3-7b": (
        Stage("pre-training", f"{_OLMO}@stage1-step1413814"),
        Stage("mid-training", f"{_OLMO}@stage2-step47684"),
        Stage("long context", f"{_OLMO}@stage3-step11921"),
        Stage("SFT", "allenai/Olmo-3-7B-Instruct-SFT@e1452fc572d51966ff4aaeb25118b891eb93e549"),
        Stage("DPO", "allenai/Olmo-3-7B-Instruct-DPO"),  # no commit of it could be confirmed
        Stage("final (RL)", "allenai/Olmo-3-7B-Instruct@6e5971d9eba42665f5bd5a0fcf047f299ce1dccc"),
    ),
    "llama-3.1-8b": (
        Stage("base", "meta-llama/Llama-3.1-8B@d04e592bb4f6aa9cfee91e2e20afa771667e1d4b"),
        Stage("instruct", "meta-llama/Llama-3.1-8B-Instruct@0e9e39f249a16976918f6564b8830bc894c89659"),
    ),
    "qwen2.5-14b": (
        Stage("base", "Qwen/Qwen2.5-14B@97e1e76335b7017d8f67c08a19d103c0504298c9"),
        Stage("instruct", "Qwen/Qwen2.5-14B-Instruct@cf98f3b3bbb457ad9e2bb7baf9a0125b6b88caa8"),
    ),
    "qwen2.5-32b": (
        Stage("base", "Qwen/Qwen2.5-32B@1818d35814b8319459f4bd55ed1ac8709630f003"),
        Stage("instruct", "Qwen/Qwen2.5-32B-Instruct@5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd"),
    ),
}


def preset(name: str) -> Sequence[Stage]:
    """The checkpoints of this series, first to last.

    Raises:
        BadSetting: no series of this name.
    """
    if name not in PRESETS:
        raise BadSetting(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
