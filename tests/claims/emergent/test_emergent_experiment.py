"""The whole experiment on a tiny model: complete, resumable to the same bytes, and every option does something."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.emergent import curve, data
from harmviz.claims.emergent.bench import make_domain
from harmviz.claims.emergent.measure import run_emergent
from harmviz.claims.emergent.settings import EmergentSpec
from harmviz.claims.parent import open_parent
from harmviz.cli import main
from harmviz.errors import RunIncompatible
from harmviz.masks.mask import PruneMask
from harmviz.models.hashing import hash_parameters
from harmviz.models.load import load_model
from harmviz.runs import Run, list_partials, open_run, result_digest, verify_run
from tests.worlds.emergent_parts import SPEC, domain, questions, rows, split
from tests.worlds.tiny import tiny_model

FULL = replace(SPEC, arms=("narrow-good", "pruned-held", "pruned-regrow", "random-held", "benign-held"), dose=(0.002,))


class Stop(Exception):
    """Stands for a kill."""


def run(spec: EmergentSpec, root: Path, **more: Any) -> Run:
    return run_emergent(tiny_model(), domain(spec), spec, root=root, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(FULL, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def frame(made: Run) -> pd.DataFrame:
    return made.results()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(SPEC, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(replace(SPEC, seeds=1), tmp_path_factory.mktemp("one"))


def pick(frame: pd.DataFrame, condition: str, metric: str, category: str | None = None) -> pd.DataFrame:
    found = frame[(frame.condition == condition) & (frame.metric == metric)]
    return found if category is None else found[found.category == category]


def test_it_is_complete_and_names_what_it_holds(made: Run) -> None:
    assert verify_run(made) == []
    method = made.manifest["method"]
    assert method["arms"] == [
        "base",
        "narrow-bad",
        "narrow-good",
        "pruned-held",
        "pruned-regrow",
        "random-held",
        "benign-held",
        "pruned-held@0.002",
    ]
    assert (method["kinds"], method["n_steps"], method["judge"]["name"]) == (["honesty", "power"], 4, "offline-harm")
    assert made.manifest["data"]["counts"]["toys"] == {"tuning": 11, "held_out": 5}
    assert set(made.masks()) == {f"{n}-{s}" for n in ("harm", "random", "benign", "harm-0.002") for s in (0, 1)}
    assert not list(made.path.parent.glob(".partial*"))


def test_masks_of_a_seed_are_of_one_size_and_no_control_touches_the_set(made: Run) -> None:
    for seed in (0, 1):
        harm, random, benign, small = (
            PruneMask.load(made.masks()[f"{n}-{seed}"]) for n in ("harm", "random", "benign", "harm-0.002")
        )
        assert harm.n_weights == random.n_weights == int(0.01 * made.manifest["model"]["n_scored_weights"])
        assert {n: len(i) for n, i in harm.indices.items()} == {n: len(i) for n, i in random.indices.items()}
        assert (harm & random).n_weights == 0
        assert (harm & small).n_weights == small.n_weights == int(0.002 * made.manifest["model"]["n_scored_weights"])
        assert (harm.kind, random.kind, benign.kind) == ("harm", "control", "control")


def test_every_arm_has_its_numbers_with_interval_and_seeds(made: Run, frame: pd.DataFrame) -> None:
    assert set(frame.experiment) == {"emergent"}
    for arm in made.manifest["method"]["arms"]:
        for category in ("broad", "in_domain", "power", "honesty"):
            (level,) = pick(frame, arm, "log_odds", category).itertuples()
            assert level.ci_low <= level.value <= level.ci_high
            assert level.unit == "nats/token"
            if arm == "base":
                continue
            (pooled,) = pick(frame, arm, "log_odds_shift", category).itertuples()
            by_seed = [pick(frame, f"{arm}#{s}", "log_odds_shift", category).value.item() for s in (0, 1)]
            assert pooled.value == pytest.approx(np.mean(by_seed))  # equal numbers of rows in both
            assert pooled.value == pytest.approx(
                level.value - pick(frame, "base", "log_odds", category).value.item(), abs=1e-6
            )
        assert len(pick(frame, arm, "nll", "benign")) == 1
        assert len(pick(frame, arm, "coherent_share", "answers")) == 1
    base, bad = (pick(frame, a, "log_odds_shift", "broad") for a in ("base", "narrow-bad"))
    assert base.empty
    (of_mask,) = pick(frame, "pruned-held", "difference_from_bad", "broad").itertuples()
    assert of_mask.value == pytest.approx(
        pick(frame, "pruned-held", "log_odds_shift", "broad").value.item() - bad.value.item(), abs=1e-9
    )
    assert (of_mask.mask, of_mask.control, of_mask.q, of_mask.contrast) == ("toys", "none", 0.01, "both")
    (dose,) = pick(frame, "pruned-held@0.002", "log_odds_shift", "broad").itertuples()
    assert dose.q == 0.002


def test_tuning_on_bad_answers_shows_in_the_domain_and_good_ones_the_other_way(frame: pd.DataFrame) -> None:
    bad, good = (pick(frame, a, "log_odds_shift", "in_domain").iloc[0] for a in ("narrow-bad", "narrow-good"))
    assert bad.ci_low > 0 > good.ci_high


def test_pruning_is_compared_with_pruning_as_many_others(frame: pd.DataFrame) -> None:
    for control, arm in (("random", "random-held"), ("benign_signed", "benign-held")):
        excess = pick(frame, "pruned-held", "excess_over_control", "broad")
        excess = excess[excess.control == control]
        shifts = [pick(frame, a, "log_odds_shift", "broad").value.item() for a in ("pruned-held", arm)]
        assert excess.value.item() == pytest.approx(shifts[0] - shifts[1], abs=1e-9)
    assert not len(pick(frame, "pruned-held@0.002", "excess_over_control"))


def test_held_weights_are_0_at_every_saved_step_and_the_others_regrow(frame: pd.DataFrame) -> None:
    for arm in ("pruned-held", "random-held", "benign-held", "pruned-held@0.002"):
        (held,) = pick(frame, arm, "held_nonzero").itertuples()
        assert (held.value, held.n) == (0.0, 2 * 4)  # seeds × quarters
        assert pick(frame, arm, "regrown_share").value.item() == 0.0
    assert pick(frame, "pruned-regrow", "regrown_share").value.item() > 0
    assert pick(frame, "pruned-regrow", "held_nonzero").empty


def test_the_change_of_weights_is_set_against_chance(frame: pd.DataFrame) -> None:
    for arm in ("narrow-bad", "narrow-good"):
        for control in ("none", "benign_signed"):
            share = pick(frame, arm, "change_share")
            chance, ratio = pick(frame, arm, "change_share_chance"), pick(frame, arm, "change_share_times_chance")
            share, chance, ratio = (f[f.control == control].value.item() for f in (share, chance, ratio))
            assert 0 < share < 1
            assert ratio == pytest.approx(share / chance)
        own = pick(frame, f"{arm}#0", "top_0.01_share_chance")
        assert (own.ci_low <= own.value).all()
    assert pick(frame, "pruned-held", "change_share").empty
    (overlap,) = frame[frame.metric == "mask_jaccard"].itertuples()
    assert 0 <= overlap.value <= 1


def test_transcripts_and_curve_tell_arm_and_seed(made: Run) -> None:
    said = [json.loads(line) for line in (made.path / "results" / "transcripts.jsonl").read_text().splitlines()]
    assert len(said) == 3 * (1 + 7 * 2)
    assert {s["arm"] for s in said} == set(made.manifest["method"]["arms"])
    assert said[0]["seed"] is None
    assert {"prompt", "answer", "kind", "coherent", "surprise", "repetition", "harm"} <= set(said[0])
    points = curve.read_curve(made.path / curve.KEPT)
    of_bad = [p for p in points if (p["arm"], p["seed"]) == ("narrow-bad", 1)]
    assert [p["step"] for p in of_bad] == [1, 2, 3, 4]
    assert of_bad[0]["loss"] == pytest.approx(
        next(p["loss"] for p in points if (p["arm"], p["seed"], p["step"]) == ("narrow-good", 1, 1)), rel=0.5
    )
    # the first loss of regrow and held is that of the same pruned model on the same rows
    first = {p["arm"]: p["loss"] for p in points if (p["seed"], p["step"]) == (0, 1)}
    assert first["pruned-regrow"] == pytest.approx(first["pruned-held"], rel=1e-6)


@pytest.mark.parametrize("at", ["score.benign", "masks.1", "measure.narrow-bad-1"])
def test_stopped_between_stages_and_resumed_it_is_the_same_run(at: str, small: Run, tmp_path: Path) -> None:
    def stop(state: dict[str, Any]) -> None:
        if state["stage"] == at:
            raise Stop

    with pytest.raises(Stop):
        run(SPEC, tmp_path, listener=stop)
    assert result_digest(run(SPEC, tmp_path, resume=True)) == result_digest(small)


@pytest.mark.parametrize(("arm", "seed", "step"), [("narrow-bad", 0, 1), ("pruned-held", 1, 3)])
def test_stopped_inside_training_and_resumed_it_is_the_same_run(
    arm: str, seed: int, step: int, small: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = curve.LiveCurve.add

    def stop(self: curve.LiveCurve, **point: Any) -> None:
        add(self, **point)
        if (point["arm"], point["seed"], point["step"]) == (arm, seed, step):
            raise Stop

    model = tiny_model()
    before = hash_parameters(model.model.named_parameters())
    with monkeypatch.context() as patched:
        patched.setattr(curve.LiveCurve, "add", stop)
        with pytest.raises(Stop):
            run_emergent(model, domain(), SPEC, root=tmp_path)
    assert hash_parameters(model.model.named_parameters()) == before
    (partial,) = list_partials(tmp_path)
    live = curve.read_curve(partial.path / curve.LIVE)[-1]
    assert (live["arm"], live["seed"], live["step"]) == (arm, seed, step)
    again = run(SPEC, tmp_path, resume=True)
    assert again.id == small.id
    assert result_digest(again) == result_digest(small)


def test_the_live_curve_forgets_steps_that_are_taken_again(tmp_path: Path) -> None:
    live = curve.LiveCurve(tmp_path / "c.jsonl")
    for arm, step in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)):
        live.add(arm=arm, seed=0, step=step, loss=1.0, rate=0.1)
    with live.path.open("ab") as f:
        f.write(b'{"arm": "b", "se')
    live.begin("b", 0, 1)
    assert [(p["arm"], p["step"]) for p in curve.read_curve(live.path)] == [("a", 1), ("a", 2), ("b", 1)]
    assert curve.read_curve(tmp_path / "nothing.jsonl") == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rate": 0.01}, "log_odds_shift"),
        ({"steps": 5}, "log_odds_shift"),
        ({"steps": None, "epochs": 3}, "log_odds_shift"),
        ({"rank": 3}, "log_odds_shift"),
        ({"scale": 1.0}, "log_odds_shift"),
        ({"method": "full"}, "log_odds_shift"),
        ({"seed": 1}, "log_odds_shift"),
        ({"seeds": 2}, "log_odds_shift"),
        ({"q": 0.02}, "log_odds_shift"),
        ({"p": 0.3}, "log_odds_shift"),
        ({"max_answer_tokens": 8}, "nll"),
        ({"new_tokens": 4}, "repetition"),
        ({"judge": "none"}, "judged_harm"),
        ({"free": 0}, "coherent_share"),
    ],
)
def test_every_option_changes_the_run(change: dict[str, Any], what: str, one_seed: Run, tmp_path: Path) -> None:
    spec = replace(SPEC, **{"seeds": 1, **change})
    other = run(spec, tmp_path)
    assert other.id != one_seed.id

    def numbers(found: Run) -> list[float | None]:
        frame = found.results()
        return frame[frame.metric == what].value.tolist()

    assert numbers(other) != numbers(one_seed)


def test_what_cannot_be_run_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="selects none of 4,608 weights"):
        run(replace(SPEC, q=1e-5), tmp_path)
    with pytest.raises(ValueError, match="domain must be the spec's 'other', got 'toys'"):
        run_emergent(tiny_model(), domain(), replace(SPEC, domain="other"), root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_general_mask_of_a_map_run_joins_the_weight_part(tiny_run: Path, tiny_dir: Path, tmp_path: Path) -> None:
    loaded = load_model(str(tiny_dir))
    parent = open_parent(open_run(tiny_run), loaded)
    found = run_emergent(loaded, domain(), replace(SPEC, seeds=1), parent, root=tmp_path)
    frame = found.results()
    general = frame[frame["mask"] == "general"]
    assert set(general.condition) == {"narrow-bad", "narrow-bad#0"}
    assert found.manifest["parents"] == [tiny_run.name]
    plain = replace(parent, run=Run(parent.run.path, {**parent.run.manifest, "files": {}}))
    with pytest.raises(RunIncompatible, match="has no mask headline-contrastive"):
        run_emergent(loaded, domain(), SPEC, plain, root=tmp_path)


def test_the_command_runs_prints_and_resumes(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The small rows of these tests in place of those that ship.
    monkeypatch.setattr(data, "load_domain", lambda name: rows() if name == "toys" else None)
    monkeypatch.setattr(data, "load_questions", questions)
    monkeypatch.setattr(data, "split_rows", split)
    words = [
        "experiment",
        "emergent",
        "--model",
        str(tiny_dir),
        "--domain",
        "toys",
        "--seeds",
        "1",
        "--steps",
        "4",
        "--rate",
        "0.02",
        "--q",
        "0.01",
        "--p",
        "0.1",
        "--arms",
        "pruned-held",
        "--dose",
        "0.002",
        "--free",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    out = capsys.readouterr().out.splitlines()
    (path,) = tmp_path.iterdir()
    assert out[0] == str(path)
    assert [line.split()[0] for line in out[3:7]] == ["base", "narrow-bad", "pruned-held", "pruned-held@0.002"]
    assert main(["show", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == out[1:]  # the same table, again
    assert main([*words, "--json", "--resume"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["run_id"], document["method"]["n_steps"]) == (path.name, 4)
    assert {r["experiment"] for r in document["rows"]} == {"emergent"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--arms", "magic"], "arms must be among"),
        (["--rate", "7"], "rate must satisfy"),
        (["--dose", "1e-5,many"], "dose must be fractions separated by commas"),
        (["--method", "qlora"], "method must be one of lora, full"),
        (["--seeds", "0"], "seeds must be a whole number"),
        (["--judge", "keyword"], "judges refusals"),
    ],
)
def test_a_typing_mistake_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "emergent", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert says in error[0]


def test_a_domain_of_too_few_rows_is_refused() -> None:
    from harmviz.errors import DataInvalid

    with pytest.raises(DataInvalid, match="too small"):
        make_domain("toys", rows(6), questions(), split, (0,))
