"""Rankings beside each other: scores against whole matrices, gains against planted worlds, one tiny run end to end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from harmviz.claims.compression.selections import ScoringSet
from harmviz.claims.compression.splits import choose_split, encoded
from harmviz.claims.markdown import one
from harmviz.claims.rankings import measure
from harmviz.claims.rankings.document import PARTS
from harmviz.claims.rankings.figures import REACH
from harmviz.claims.rankings.finding import (
    LESS,
    MORE,
    NO_WEIGHTS,
    NOT_REACHED,
    PASSED,
    UNDECIDED,
    finding,
    gain,
    judged,
    told,
)
from harmviz.claims.rankings.gains import rows_of
from harmviz.claims.rankings.measure import FILE, run_rankings
from harmviz.claims.rankings.pictures import limits, pictures
from harmviz.claims.rankings.scores import best_weights
from harmviz.claims.rankings.settings import LIMITS, RankingsSpec, words
from harmviz.cli import main
from harmviz.data.encoding import Sample, make_batches
from harmviz.data.prompts import PromptData, load_prompts
from harmviz.data.splits import SCORING
from harmviz.display.style import Theme
from harmviz.errors import BadSetting
from harmviz.masks.lists import guard_score
from harmviz.masks.ranking import count_of, selection_order
from harmviz.models.load import LoadedModel
from harmviz.runs import Run, rows_to_frame, verify_run
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.signed import score_signed
from tests.worlds.compression import TINY_SIZES
from tests.worlds.tiny import tiny_model

SPEC = RankingsSpec(**TINY_SIZES, p=0.1, penalties=(0.3, 2.0), fractions=(1e-3, 5e-3, 0.05))


@pytest.fixture(scope="module")
def data() -> PromptData:
    return load_prompts("builtin")


@pytest.fixture(scope="module")
def run(data: PromptData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_rankings(tiny_model(), data, SPEC, root=tmp_path_factory.mktemp("rankings"))


def inputs_of(loaded: LoadedModel, sample: Sample) -> list[np.ndarray]:
    """What each scored matrix's module is given, one sample alone."""
    seen: dict[int, np.ndarray] = {}

    def keep(place: int, _module: nn.Module, args: tuple[torch.Tensor]) -> None:
        seen[place] = args[0][0].numpy()

    handles = [m.register_forward_pre_hook(partial(keep, i)) for i, m in enumerate(loaded.modules)]
    with torch.inference_mode():
        loaded.model(input_ids=torch.tensor([sample.ids]))
    for handle in handles:
        handle.remove()
    return [seen[i] for i in range(len(seen))]


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # gpt2 keeps its matrices transposed
def test_every_ranking_is_its_formula_over_whole_matrices(data: PromptData, family: str) -> None:
    loaded = tiny_model(family)
    split = choose_split(data, SPEC, 0, lambda row: True)
    samples = {key: encoded(loaded, rows, SPEC) for key, rows in split.signed.items()}
    preserve = encoded(loaded, split.preserve, SPEC)
    done: list[float] = []
    best = best_weights(loaded, ScoringSet(samples, preserve, split.categories), SPEC, done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert list(best) == list(SPEC.rankings) == ["none", "both", "graded-0.3", "graded-2", "gradient-free"]
    table = loaded.table

    def flat(matrices: Iterable[Any]) -> np.ndarray:
        return np.concatenate([np.asarray(m, dtype=np.float64).ravel() for m in matrices])

    def harm(name: str) -> np.ndarray:
        group = [s for half in SCORING for s in samples[name, half]]
        return -flat(score_signed(loaded, make_batches(group, max_tokens=512))) / len(group)

    def inputs(group: list[Sample]) -> list[np.ndarray]:
        """The root mean square of each matrix's inputs, by hooks and one sample at a time."""
        sums = [np.zeros(1)] * len(table)
        for sample in group:
            for i, x in enumerate(inputs_of(loaded, sample)):
                sums[i] = sums[i] + (x[sample.n_prompt - 1 : -1].astype(np.float64) ** 2).sum(0)
        return [np.sqrt(s / sum(sample.n_loss for sample in group)) for s in sums]

    def weighted(strengths: list[np.ndarray]) -> np.ndarray:
        weights = [loaded.tensor(i).detach().abs().numpy().astype(np.float64) for i in range(len(table))]
        return flat(
            [w * (s[:, None] if m.transposed else s) for w, s, m in zip(weights, strengths, table, strict=True)]
        )

    utility = flat(score_absolute(loaded, make_batches(preserve, max_tokens=512))) / len(preserve)
    mean = sum(harm(c) for c in split.categories) / len(split.categories)
    protected = utility >= np.sort(utility)[-count_of(0.1, table.n_weights)]
    of_set = {
        name: inputs([s for c in names for half in SCORING for s in samples[c, half]])
        for name, names in {"harm": split.categories, "safe": ("safe",), "benign": ("benign",)}.items()
    }
    spared = [np.maximum(a, b) for a, b in zip(of_set["safe"], of_set["benign"], strict=True)]
    held = weighted(inputs(preserve))
    expected = {
        "none": np.where(protected, 0, mean),
        "both": np.where(protected, 0, mean - guard_score(harm("safe"), harm("benign"))),
        "graded-0.3": np.maximum(mean, 0) - 0.3 * utility,
        "graded-2": np.maximum(mean, 0) - 2.0 * utility,
        "gradient-free": np.where(
            held >= np.sort(held)[-count_of(0.1, table.n_weights)],
            0,
            weighted([h - s for h, s in zip(of_set["harm"], spared, strict=True)]),
        ),
    }
    for name, score in expected.items():
        order = selection_order(score)[: count_of(0.05, table.n_weights)]
        order = order[score[order] > 0]
        assert len(order) > 3, name
        assert len(best[name]) == len(order), name
        for q in SPEC.fractions:  # in order, up to weights that score within rounding of each other
            k = min(len(order), count_of(q, table.n_weights))
            assert len(np.intersect1d(best[name][:k], order[:k])) >= k - max(1, k // 100), (name, q)


FRACTIONS = (1e-6, 2e-6, 4e-6, 8e-6, 1.6e-5)


def planted(slopes: Mapping[str, float], *, benign: float = 1.0, noise: float = 0.0) -> pd.DataFrame:
    """Losses of a world where harm − safe is ``slope`` times what benign answers pay, along five fractions."""
    rng = np.random.default_rng(0)
    sets = [(c, f"{c}-{i}") for c in ("hate", "violence", "safe:hate", "safe:violence", "benign") for i in range(12)]
    frames = []
    for place, (ranking, q) in enumerate([(None, np.nan), *((r, f) for r in slopes for f in FRACTIONS)]):
        paid = 0.0 if ranking is None else benign * q * 1e4  # 0.01 … 0.16
        for category, prompt in sets:
            rise = paid if category == "benign" else 0.3 * paid
            if category in ("hate", "violence") and ranking is not None:
                rise += slopes[ranking] * paid
            nll = 2.0 + rise + (noise * rng.normal() if place else 0.0)
            frames.append((ranking, q, 1 + place, prompt, prompt, category, nll))
    columns = ["ranking", "q", "n_weights", "sample", "prompt", "category", "nll"]
    return pd.DataFrame(frames, columns=columns)


def test_gains_are_read_off_the_planted_curves() -> None:
    spec = replace(SPEC, penalties=(0.3,), p=0.01)
    frame = rows_to_frame(rows_of(planted({"none": 1.0, "both": 3.0, "graded-0.3": 0.5}), ("hate", "violence"), spec))
    for limit in LIMITS:
        for ranking, slope in {"none": 1.0, "both": 3.0, "graded-0.3": 0.5}.items():
            gained = one(frame, metric=f"gain_at_{limit:g}", contrast=ranking, condition=None)
            assert gained is not None
            assert gained["value"] == pytest.approx(slope * limit)
            assert gained["n"] == 60
            assert gained["p"] == (0 if ranking == "graded-0.3" else 0.01)
        difference = one(frame, metric=f"gain_difference_at_{limit:g}", condition="both minus none")
        assert difference is not None
        assert difference["value"] == pytest.approx(2.0 * limit)
    at = one(frame, metric="harm_specific", contrast="both", q=4e-6)
    assert at is not None
    assert at["value"] == pytest.approx(3 * 0.04)
    assert at["n"] == 48
    for category, n in {"harm": 24, "safe": 24, "benign": 12}.items():
        shift = one(frame, metric="delta_nll", contrast="both", q=4e-6, category=category)
        assert shift is not None
        assert shift["n"] == n
    assert [judged(frame, r) for r in ("both", "graded-0.3")] == [MORE, LESS]


def test_noise_leaves_it_undecided_and_what_is_not_reached_has_no_gain() -> None:
    spec = replace(SPEC, penalties=())
    noisy = rows_to_frame(rows_of(planted({"none": 1.0, "both": 1.1}, noise=0.2), ("hate", "violence"), spec))
    assert judged(noisy, "both") == UNDECIDED
    gentle = rows_to_frame(rows_of(planted({"none": 1.0, "both": 3.0}, benign=0.2), ("hate", "violence"), spec))
    reached = {limit: row["value"] for limit in LIMITS if (row := gain(gentle, "both", limit)) is not None}
    assert list(reached) == list(LIMITS)
    assert reached[0.02] == pytest.approx(0.06)
    assert pd.isna(reached[0.05])
    assert pd.isna(reached[0.1])
    assert judged(gentle, "both") == MORE  # by the one limit that both reach
    assert [told(gentle, "both", limit, None) for limit in (0.05, 0.1)] == [NOT_REACHED] * 2


def test_a_limit_that_the_first_weights_pass_has_no_gain() -> None:
    """Nothing was measured between no weights and the first fraction: a straight line there would be made up."""
    spec = replace(SPEC, penalties=())
    frame = rows_to_frame(rows_of(planted({"none": 1.0, "both": 3.0}, benign=6.0), ("hate", "violence"), spec))
    gained = {limit: one(frame, metric=f"gain_at_{limit:g}", contrast="both", condition=None) for limit in LIMITS}
    assert [row is not None and pd.isna(row["value"]) for row in gained.values()] == [True, True, False]
    assert told(frame, "both", 0.05, gained[0.05]) == PASSED
    assert told(frame, "both", 0.1, gained[0.1]).startswith("+0.300 [")


def test_a_run_holds_every_ranking_and_stops_where_benign_answers_pay_enough(run: Run) -> None:
    assert verify_run(run) == []
    losses = pd.read_parquet(run.file(FILE))
    n = losses["q"].isna().sum()
    assert n == losses[losses["q"].isna()]["sample"].nunique()
    intact = losses[losses["q"].isna()].set_index("sample")["nll"]
    for ranking in SPEC.rankings:
        mine = losses[losses["ranking"] == ranking]
        fractions = sorted(mine["q"].unique())
        assert fractions == list(SPEC.fractions[: len(fractions)])
        paid = []
        for q in fractions:
            at = mine[(mine["q"] == q) & (mine["category"] == "benign")].set_index("sample")["nll"]
            paid.append(float((at - intact.reindex(at.index)).mean()))
        # One fraction is measured beyond the one that passes the largest limit, and no more.
        assert all(p < max(LIMITS) for p in paid[:-2]), ranking
        enough = len(paid) > 1 and paid[-2] >= max(LIMITS)
        assert enough or len(fractions) == len(SPEC.fractions) or ranking == "graded-2", ranking
    results = run.results()
    assert set(results["contrast"]) == set(SPEC.rankings)
    assert set(results["experiment"]) == {"rankings"}
    found = finding(run)
    assert set(found.numbers["verdicts"]) == set(SPEC.rankings) - {"none"}
    for ranking in SPEC.rankings:
        assert words(ranking) in found.sentence
    for part in PARTS.values():
        assert words("gradient-free") in part(run)
    (picture,) = pictures(run, Theme())
    drawn = [str(name) for name, line in picture.table.groupby("name", sort=False) if line["benign"].iloc[0] <= REACH]
    assert [trace.name for trace in picture.figure.data] == drawn
    assert len(drawn) >= 3
    assert len(picture.table) == len(losses[losses["q"].notna()].groupby(["ranking", "q"]))
    assert limits(run)


def test_interrupted_it_goes_on_and_comes_to_the_same(
    run: Run, data: PromptData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, calls = measure.response_losses, []

    def dies(loaded: LoadedModel, samples: Sequence[Sample], **options: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return usual(loaded, samples, **options)

    monkeypatch.setattr(measure, "response_losses", dies)
    with pytest.raises(KeyboardInterrupt):
        run_rankings(tiny_model(), data, SPEC, root=tmp_path)
    again = run_rankings(tiny_model(), data, SPEC, root=tmp_path, resume=True)
    assert again.id == run.id
    pd.testing.assert_frame_equal(again.results(), run.results())
    masks = pd.read_parquet(run.file(FILE)).groupby(["ranking", "q"]).ngroups
    assert len(calls) == 1 + masks + 1  # each measured once, the one that was cut off twice


def test_the_command(tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--samples", "4", "--held-out", "2", "--max-response-tokens", "8", "--penalties", "1,0.5"]
    asked = ["experiment", "rankings", "--model", str(tiny_dir), "--data", "builtin", "--out", str(tmp_path), *small]
    assert main([*asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rankings"] == ["none", "both", "graded-0.5", "graded-1", "gradient-free"]
    assert document["finding"]["sentence"].startswith("For 0.05 nats that benign answers pay")
    assert main(["show", document["path"]]) == 0
    lines = capsys.readouterr().out
    assert "the same, minus the paper's, drawn together" in lines
    for wrong, why in (
        ("--penalties=0.1,x", "separated by commas"),
        ("--penalties=-1", "above 0"),
        ("--held-out=1", "at least 2"),
    ):
        assert main([*asked, wrong]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting",
    [
        {"penalties": (0.1, 0.1)},
        {"penalties": (1, 1.0000001)},
        {"fractions": ()},
        {"fractions": (1e-5, 1e-6)},
        {"samples": 1},
        {"p": 1.0},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        RankingsSpec(**setting)


def test_without_a_gain_of_the_papers_nothing_is_judged() -> None:
    spec = replace(SPEC, penalties=())
    frame = rows_to_frame(rows_of(planted({"both": 3.0}), ("hate", "violence"), spec))
    assert judged(frame, "both") == UNDECIDED
    assert told(frame, "none", 0.05, gain(frame, "none", 0.05)) == NO_WEIGHTS


def test_inputs_that_no_module_shows_have_no_ranking(data: PromptData, tmp_path: Path) -> None:
    """Fused experts: the result does not speak of a gradient-free ranking at all."""
    loaded = tiny_model("mixtral")
    assert loaded.table.has_fused_experts
    made = run_rankings(loaded, data, replace(SPEC, fractions=(1e-3,), penalties=(1.0,)), root=tmp_path)
    assert made.manifest["method"]["rankings"] == ["none", "both", "graded-1"]
    assert "gradient-free" not in finding(made).sentence
    assert not any("gradient-free" in line for line in limits(made))
