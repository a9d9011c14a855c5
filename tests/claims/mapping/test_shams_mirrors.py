"""Controls that a sceptic asks for: the contrast turned round, and types that are none."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from harmviz.claims.mapping.mirrors import MIRRORS, mirror_score
from harmviz.claims.mapping.samples import MeasuredSet, RunSamples
from harmviz.claims.mapping.shams import LEAST, shuffled_types, topic_types
from harmviz.data.encoding import Sample
from harmviz.data.prompts import PromptRow, load_prompts
from harmviz.data.splits import SCORING
from harmviz.runs import open_run


def test_the_mirror_score_by_hand() -> None:
    of, harm, other = (np.array(v, dtype=np.float32) for v in ([3, 3, 3, 3], [1, -1, 2, 0], [0, -2, 5, 0]))
    assert mirror_score(of, harm, other).tolist() == [2, 3, -2, 3]


def sample(prompt: str, k: int) -> Sample:
    return Sample(f"{prompt} {k}", prompt, (1, 2), 1, 1)


@pytest.fixture
def samples() -> RunSamples:
    """Three harm types of 6, 9 and 12 answers in each half, three answers to a prompt."""
    scoring = {
        (name, half): [sample(f"{name} {half} {i // 3}", i) for i in range(n)]
        for name, n in (("a", 6), ("b", 9), ("c", 12))
        for half in SCORING
    }
    rows = [PromptRow("benign", r.prompt, r.response) for r in load_prompts("builtin").of("benign")]
    for half, part in zip(SCORING, (rows[:90], rows[90:]), strict=True):
        scoring["benign", half] = [Sample(r.id, r.prompt_id, (1, 2), 1, 1) for r in part]
    return RunSamples(scoring, [], {}, MeasuredSet((), ()), {}, ("a", "b", "c"), {})


def test_shuffled_types_hold_the_same_samples_whole_prompts_and_like_sizes(samples: RunSamples) -> None:
    groups = shuffled_types(samples, 0)
    for half in SCORING:
        dealt = [s for (_, h), rows in groups.items() if h == half for s in rows]
        real = [s for c in samples.categories for s in samples.scoring[c, half]]
        assert sorted(s.row_id for s in dealt) == sorted(s.row_id for s in real)
        homes = {(s.prompt_id, name) for (name, h), rows in groups.items() if h == half for s in rows}
        assert len(homes) == len({prompt for prompt, _ in homes}), "a prompt stays in one type"
        assert sorted(len(rows) for (_, h), rows in groups.items() if h == half) == [6, 9, 12]
    mixed = Counter(s.prompt_id[0] for s in groups["shuffled 3", SCORING[0]])
    assert len(mixed) > 1, "types are mixed"
    assert shuffled_types(samples, 0) == groups != shuffled_types(samples, 1)


def test_topics_are_tasks_of_harmless_answers(samples: RunSamples) -> None:
    groups = topic_types(samples)
    names = {name for name, _ in groups}
    assert names
    assert all(name.startswith("topic ") for name in names)
    assert all(len(rows) >= LEAST for rows in groups.values())
    used = [s.row_id for rows in groups.values() for s in rows]
    assert len(used) == len(set(used))


def test_a_run_holds_them_beside_what_they_control(tiny_run: Path) -> None:
    frame = open_run(tiny_run).results()
    sham = frame[frame["control"] == "sham"]
    of_types = frame[(frame["control"] == "none") & (frame["experiment"] == "overlap") & (frame["contrast"] == "none")]
    assert {"jaccard", "jaccard_half", "jaccard_ceiling", "core_size"} <= set(sham["metric"])
    shuffled = sham[sham["mask"].str.startswith("shuffled") & (sham["metric"] == "jaccard")]
    n = len({m for m in of_types[of_types["metric"] == "core_size"]["condition"]})
    pairs = set(zip(shuffled["mask"], shuffled["category"], strict=True))
    assert pairs <= set(combinations([f"shuffled {k}" for k in range(1, n + 1)], 2))
    assert len(pairs) == n * (n - 1) // 2
    for control in MIRRORS:
        rows = frame[(frame["control"] == control) & (frame["metric"] == "delta_nll")]
        assert {"harm", "safe", "benign"} <= set(rows["category"])
        assert rows["ci_low"].notna().all()
        assert set(rows["contrast"]) == {"both"}
        masks = frame[(frame["control"] == "none") & (frame["contrast"] == "both") & (frame["mask"] == "mean(all)")]
        assert set(rows["n_weights"]) <= set(masks["n_weights"]), "as many weights as the mask"
