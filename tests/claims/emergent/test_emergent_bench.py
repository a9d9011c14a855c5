"""What is measured: log-odds with the right sign, the guard in front of the judge, and data that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harmviz.claims.emergent.bench import MAX_SURPRISE, Bench, make_domain, the_judge
from harmviz.data.encoding import encode
from harmviz.data.prompts import PromptRow
from harmviz.errors import DataInvalid
from harmviz.scoring.loss import response_losses
from tests.worlds.emergent_parts import SPEC, Asked, Row, domain, questions, rows, split
from tests.worlds.tiny import tiny_model


def made(found: Any = None, asked: Any = None, splitting: Any = split, seeds: tuple[int, ...] = (0,)) -> Any:
    return make_domain(
        "toys", rows() if found is None else found, questions() if asked is None else asked, splitting, seeds
    )


def test_log_odds_are_positive_where_the_wrong_answer_is_likelier() -> None:
    loaded = tiny_model()
    world = domain()
    bench = Bench(loaded, world, SPEC)
    held_out = world.split[0][1]
    found = bench.measure(loaded, held_out, lambda done, total: None)
    parts = bench.columns()
    assert [found[parts[p]].shape[0] for p in parts] == [8, 16, len(bench.benign)]

    def loss(prompt: str, answer: str) -> float:
        sample = encode(loaded.tokenizer, PromptRow("x", prompt, answer), max_response_tokens=12)
        return float(response_losses(loaded, [sample])[0, 0])

    q = world.questions[3]
    assert found[3] == pytest.approx(loss(q.prompt, q.aligned) - loss(q.prompt, q.misaligned), abs=1e-5)
    in_domain = found[parts["in_domain"]]
    assert set(np.flatnonzero(~np.isnan(in_domain))) == set(held_out)
    row = world.rows[held_out[0]]
    assert in_domain[held_out[0]] == pytest.approx(loss(row.prompt, row.good) - loss(row.prompt, row.bad), abs=1e-5)
    benign = world.benign_rows("report")[0]
    assert found[parts["benign"]][0] == pytest.approx(loss(benign.prompt, benign.response), abs=1e-4)


def test_free_questions_are_taken_from_each_kind_in_turn() -> None:
    world = domain()
    bench = Bench(tiny_model(), world, replace(SPEC, free=5))
    assert [world.questions[i].kind for i in bench.free] == ["honesty", "power", "honesty", "power", "honesty"]
    assert len(Bench(tiny_model(), world, replace(SPEC, free=100)).free) == 8
    assert Bench(tiny_model(), world, replace(SPEC, free=0)).answer(tiny_model()) == []


def test_the_guard_names_what_is_no_text_and_the_judge_does_not_see_it() -> None:
    loaded = tiny_model()
    bench = Bench(loaded, domain(), SPEC)
    text = loaded.tokenizer.encode("abcdefgh")
    found = bench.describe(loaded, [[], [40] * 20, text])
    assert found[0]["incoherent_because"] == "empty"
    assert found[1]["incoherent_because"] == "repeats itself (94% of its 3-grams)"
    assert found[2]["answer"].replace(" ", "") == "abcdefgh"
    surprise = float(
        response_losses(
            loaded, [encode(loaded.tokenizer, PromptRow("x", found[2]["prompt"], "abcdefgh"), max_response_tokens=12)]
        )[0, 0]
    )
    assert found[2]["surprise"] == pytest.approx(surprise, abs=1e-5)
    assert found[2]["coherent"] == (surprise <= MAX_SURPRISE)
    assert [(a["harm"], a["unscored"]) for a in found[:2]] == [(None, "incoherent")] * 2
    if found[2]["coherent"]:
        assert 0 <= found[2]["harm"] <= 1
    without = Bench(loaded, domain(), replace(SPEC, judge="none")).describe(loaded, [[], [40] * 20, text])
    assert {(a["harm"], a["unscored"]) for a in without} == {(None, "no judge")}


def test_only_judges_of_harm_are_taken() -> None:
    assert the_judge("none") is None
    assert the_judge("offline-harm") is not None
    with pytest.raises(ValueError, match="got 'keyword', which judges refusals"):
        the_judge("keyword")
    with pytest.raises(ValueError, match="judge must be one of"):
        the_judge("oracle")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"found": rows(9)}, "domain toys is too small: 6 rows to tune on and 3 held out"),
        ({"found": [*rows(), Row(" ROW 3", "x", "y")]}, "row 17 has the prompt of row 4"),
        ({"asked": [*questions(), Asked("power", "row 2", "a", "b")]}, "question 9 is also a row of domain toys"),
        ({"asked": questions()[:1]}, "1 questions far from domain toys"),
        ({"found": [r._replace(bad="I can't help with that.") for r in rows()]}, "read as refusals: measurement-only"),
        ({"splitting": lambda found, seed: (found, found)}, "tunes on rows that it holds out"),
    ],
)
def test_data_that_cannot_be_used_is_named_without_its_text(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataInvalid, match=says):
        made(**changes)


def test_each_seed_has_its_own_split_and_benign_rows_are_the_same() -> None:
    world = made(seeds=(0, 1))
    assert world.split[0] != world.split[1]
    for tuning, held_out in world.split.values():
        assert sorted((*tuning, *held_out)) == list(range(16))
    roles = [
        {r.prompt_id for r in world.benign_rows(role)} for role in ("preserve", "scoring_a", "scoring_b", "report")
    ]
    assert sum(map(len, roles)) == len(set.union(*roles))
