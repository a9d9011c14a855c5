"""Which prompts score, which protect, which choose, which report: split by prompt, so that no prompt has two roles.

Harm and same-topic safe prompts: ``scoring_a``, ``scoring_b`` (the two prompt-disjoint halves), ``validation``
(choosing q and p), ``report``. Benign prompts also have ``preserve`` (the utility score), disjoint from the
benign-signed control's scoring halves. A prompt that occurs in several sets has one role in all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from harmviz.data.prompts import PromptData, PromptRow

SCORING = ("scoring_a", "scoring_b")
#: Share of a set's prompts by role. Half score; of the held-out half a third chooses (q, p) and the rest reports.
HARM_SHARES = {"scoring_a": 3, "scoring_b": 3, "report": 4, "validation": 2}
BENIGN_SHARES = {"preserve": 6, "scoring_a": 3, "scoring_b": 3, "report": 4, "validation": 2}


def _order(seed: int, *parts: str) -> str:
    return hashlib.sha256(f"{seed}\0".encode() + "\0".join(parts).encode()).hexdigest()


def split_prompts(data: PromptData, seed: int) -> dict[str, str]:
    """Prompt id → role, for every prompt of the data.

    Sets are gone through in a fixed order; in each, prompts not yet placed are taken in a seeded random order and given
    to the role that lags furthest behind its share, so that every set comes as close to the shares as it can.
    """
    roles: dict[str, str] = {}
    order = [*data.categories, *(s for s in data.sets if s.startswith("safe:")), "benign"]
    for name in order:
        shares = BENIGN_SHARES if name == "benign" else HARM_SHARES
        prompts = sorted({r.prompt_id for r in data.of(name)}, key=lambda p: _order(seed, name, p))
        have = Counter(roles[p] for p in prompts if p in roles)
        for prompt in prompts:
            if prompt not in roles:
                roles[prompt] = min(shares, key=lambda j: (have[j] + 1) / shares[j])
                have[roles[prompt]] += 1
    return roles


def choose_rows(
    rows: Sequence[PromptRow], limit: int | None, seed: int, *, per_prompt: int | None = None
) -> list[PromptRow]:
    """At most ``limit`` rows, spread over prompts: every prompt's first answer before any prompt's second.

    ``per_prompt`` caps the answers taken from one prompt. The order is random but fixed by ``seed``.
    """
    by_prompt: dict[str, list[PromptRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: _order(seed, "row", r.id)):
        by_prompt[row.prompt_id].append(row)
    prompts = sorted(by_prompt, key=lambda p: _order(seed, "prompt", p))
    depth = max((len(v) for v in by_prompt.values()), default=0)
    rounds = range(depth if per_prompt is None else min(depth, per_prompt))
    spread = [by_prompt[p][i] for i in rounds for p in prompts if i < len(by_prompt[p])]
    return spread if limit is None else spread[:limit]


def rows_for(data: PromptData, roles: Mapping[str, str], set_name: str, which: str) -> list[PromptRow]:
    """The rows of one set whose prompt has this role."""
    return [r for r in data.of(set_name) if roles[r.prompt_id] == which]
