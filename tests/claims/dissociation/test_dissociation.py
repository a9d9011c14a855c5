"""The dissociation experiment on a real tiny map run: what is in it, that no interruption changes it, and what never
leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.dissociation.abilities import Abilities
from harmviz.claims.dissociation.measure import run_dissociation
from harmviz.claims.dissociation.refusal_mask import Quota, RefusalMasks, refusal_rows
from harmviz.claims.dissociation.rows import FALSE_ALARMS, Rows, Yardstick, right
from harmviz.claims.dissociation.settings import Settings
from harmviz.claims.dissociation.stored import HARM, MATCHED, REFUSAL
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.parent import open_parent
from harmviz.cli import main
from harmviz.data.encoding import make_batches
from harmviz.data.prompts import PromptData, load_prompts, read_builtin
from harmviz.errors import DataInvalid, MaskInvalid, RunIncompatible
from harmviz.masks.apply import pruned
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs import Run, Where, open_run, result_digest, verify_run
from harmviz.scoring.signed import score_signed
from harmviz.stats.auc import auc, auc_difference
from tests.worlds.fabricated import make_run

SMALL = Settings(draws=2, pairs=8, prompts=4)
OPTIONS = ("--draws", "2", "--pairs", "8", "--prompts", "4")


class Stop(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def loaded(tiny_dir: Path) -> LoadedModel:
    return load_model(str(tiny_dir))


@pytest.fixture(scope="module")
def data() -> PromptData:
    return load_prompts("builtin")


@pytest.fixture(scope="module")
def parent(tiny_run: Path) -> Run:
    return open_run(tiny_run)


@pytest.fixture(scope="module")
def made(parent: Run, loaded: LoadedModel, data: PromptData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_dissociation(parent, loaded, data, SMALL, root=tmp_path_factory.mktemp("experiments"))


@pytest.fixture(scope="module")
def frame(made: Run) -> pd.DataFrame:
    return made.results()


@pytest.fixture(scope="module")
def abilities(parent: Run, loaded: LoadedModel, data: PromptData) -> Abilities:
    return Abilities(loaded, data, spec_of(parent), pairs=8, prompts=4)


def spec_of(run: Run) -> RunSpec:
    return RunSpec.of_run(run.manifest["parameters"])


def one(frame: pd.DataFrame, **keys: Any) -> pd.Series:
    """The one row with these values; None: null."""
    for name, value in keys.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    assert len(frame) == 1, f"{len(frame)} rows"
    return frame.iloc[0]


# -- what is in it ----------------------------------------------------------------------------------------------------
def test_it_is_a_complete_run_with_its_parent(made: Run, parent: Run) -> None:
    assert verify_run(made) == []
    assert (made.kind, made.manifest["parents"]) == ("experiment", [parent.id])
    assert made.manifest["method"]["experiment"] == "dissociation"
    assert set(made.manifest["files"]) == {"results/dissociation.parquet"}
    assert made.manifest["seeds"] == {"run": 0}


def test_every_ability_stands_there_for_every_mask_with_n_and_interval(frame: pd.DataFrame) -> None:
    assert set(frame["experiment"]) == {"dissociation"}
    standardised = frame[frame["metric"] == "standardised"]
    for contrast in ("none", "both"):
        for mask, control in (
            (HARM, "none"),
            (MATCHED, "none"),
            (REFUSAL, "none"),
            (HARM, "random"),
            (HARM, "benign_signed"),
        ):
            here = standardised[
                (standardised["contrast"] == contrast)
                & (standardised["mask"] == mask)
                & (standardised["control"] == control)
            ]
            assert set(here["condition"]) == {"generation", "recognition", "explanation", "refusal"}, (
                contrast,
                mask,
                control,
            )
    changes = frame[
        frame["metric"].isin(
            ["delta_nll", "delta_auc", "delta_accuracy", "delta_refusal_rate", "delta_refusal_log_odds"]
        )
    ]
    assert changes["n"].notna().all()
    full = changes[changes["control"] != "random"]
    assert full["ci_low"].notna().all()
    assert ((full["ci_low"] <= full["value"]) & (full["value"] <= full["ci_high"])).mean() > 0.99
    assert {
        "excess_over_control",
        "excess_auc",
        "excess_accuracy",
        "excess_refusal_rate",
        "excess_refusal_log_odds",
    } <= set(frame["metric"])
    recall = one(frame, metric="keyword_recall")
    assert 0 < recall["ci_low"] < recall["value"] < recall["ci_high"] < 1


def test_generation_is_what_the_map_run_measured_of_the_same_mask(
    parent: Run, loaded: LoadedModel, data: PromptData, tmp_path: Path
) -> None:
    """With all prompts, the effect of the chosen mask on each set is the parent's stored one."""
    found = run_dissociation(parent, loaded, data, Settings(draws=1, pairs=8), root=tmp_path).results()
    stored = parent.results()
    for contrast, point in parent.manifest["method"]["headline"].items():
        theirs = stored[
            (stored["experiment"] == "effect")
            & (stored["metric"] == "delta_nll")
            & stored["condition"].isna()
            & (stored["control"] == "none")
            & (stored["mask"] == HARM)
            & (stored["contrast"] == contrast)
            & (stored["q"] == point["q"])
            & (stored["p"] == point["p"])
            & (stored["skip_tokens"] == 0)
            & (stored["category"] != "benign_own")
        ].set_index("category")
        ours = found[
            (found["metric"] == "delta_nll")
            & (found["condition"] == "generation")
            & (found["mask"] == HARM)
            & (found["control"] == "none")
            & (found["contrast"] == contrast)
        ].set_index("category")
        assert set(ours.index) == set(theirs.index)
        assert ours["value"].to_dict() == pytest.approx(theirs["value"].to_dict(), abs=1e-6)


def test_recognition_rows_are_those_of_the_model(
    frame: pd.DataFrame, abilities: Abilities, parent: Run, loaded: LoadedModel
) -> None:
    items = np.arange(8)
    before = abilities.questions.scores(loaded, items).mean(axis=(2, 3))
    point = parent.manifest["method"]["headline"]["both"]
    with pruned(loaded, open_parent(parent, loaded).mask(point["q"], point["p"], "both")):
        scores = abilities.questions.scores(loaded, items)
    after = scores.mean(axis=(2, 3))
    at: dict[str, Any] = {"condition": "recognition", "category": "all"}
    assert one(frame, metric="auc", mask=None, **at)["value"] == pytest.approx(auc(before).value)
    assert one(frame, metric="accuracy", mask=None, **at)["value"] == pytest.approx(right(before).mean())
    change = one(frame, metric="delta_auc", mask=HARM, control="none", contrast="both", **at)
    assert change["value"] == pytest.approx(auc_difference(after, before).value)
    of_phrasing = one(
        frame, metric="auc", mask=HARM, control="none", contrast="both", condition="recognition", category="safe"
    )
    assert of_phrasing["value"] == pytest.approx(auc(scores[:, :, 2].mean(axis=2)).value)


def test_accuracy_by_hand() -> None:
    assert right(np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [0.0, 0.0], [0.0, -2.0]])).tolist() == [
        1.0,
        0.5,
        0.0,
        0.5,
        0.75,
    ]


def test_matched_masks_reduce_harm_alike_on_validation(
    made: Run, frame: pd.DataFrame, abilities: Abilities, parent: Run, loaded: LoadedModel
) -> None:
    match = made.manifest["method"]["matching"]
    weaker = min(match["shift"], key=match["shift"].get)
    stronger = next(c for c in match["shift"] if c != weaker)
    assert match["strength"][weaker] == 1.0
    assert 0 < match["strength"][stronger] < 1
    assert one(frame, metric="strength", contrast=stronger)["value"] == match["strength"][stronger]
    samples, sets = abilities.validation.samples, np.array(abilities.validation.sets)

    def losses() -> np.ndarray:
        return abilities._losses(list(samples), lambda done, total: None)

    before, point = losses(), parent.manifest["method"]["headline"][stronger]
    with pruned(
        loaded, open_parent(parent, loaded).mask(point["q"], point["p"], stronger), match["strength"][stronger]
    ):
        delta = losses() - before
    reached = np.mean([delta[sets == c].mean() for c in np.unique(sets)])
    assert reached == pytest.approx(match["shift"][weaker], rel=0.03)
    same = one(
        frame,
        metric="delta_nll",
        condition="generation",
        category="harm",
        mask=MATCHED,
        control="none",
        contrast=weaker,
    )
    whole = one(
        frame, metric="delta_nll", condition="generation", category="harm", mask=HARM, control="none", contrast=weaker
    )
    assert same["value"] == whole["value"]
    turned = one(
        frame,
        metric="delta_nll",
        condition="generation",
        category="harm",
        mask=MATCHED,
        control="none",
        contrast=stronger,
    )
    full = one(
        frame, metric="delta_nll", condition="generation", category="harm", mask=HARM, control="none", contrast=stronger
    )
    assert turned["value"] < full["value"]


def test_standardised_is_the_change_over_the_intact_spread(frame: pd.DataFrame) -> None:
    at: dict[str, Any] = {"mask": HARM, "control": "none", "contrast": "none"}
    for condition, category, metric, sign in (
        ("generation", "harm", "delta_nll", -1),
        ("explanation", "harmful", "delta_nll", -1),
        ("refusal", "harmful", "delta_refusal_log_odds", 1),
    ):
        sd = one(frame, metric="intact_sd", condition=condition, category=category)["value"]
        raw = one(frame, metric=metric, condition=condition, category=category, **at)
        shown = one(frame, metric="standardised", condition=condition, category=category, **at)
        assert shown["value"] == pytest.approx(sign * raw["value"] / sd)
        assert sorted((shown["ci_low"], shown["ci_high"])) == pytest.approx(
            sorted((sign * raw["ci_low"] / sd, sign * raw["ci_high"] / sd))
        )


def test_excess_is_the_difference_of_the_two_changes(frame: pd.DataFrame) -> None:
    at: dict[str, Any] = {"condition": "explanation", "category": "harmful", "contrast": "both"}
    mask = one(frame, metric="delta_nll", mask=HARM, control="none", **at)["value"]
    control = one(frame, metric="delta_nll", mask=HARM, control="benign_signed", **at)["value"]
    assert one(frame, metric="excess_over_control", mask=HARM, control="benign_signed", **at)["value"] == pytest.approx(
        mask - control
    )


# -- what can be tested -----------------------------------------------------------------------------------------------
def values_of(abilities: Abilities, scores: np.ndarray, answers: float) -> dict[str, np.ndarray]:
    n = len(abilities.pairs)
    flags = np.zeros(len(abilities.asked))
    flags[: round(answers * len(flags))] = 1
    return {
        "generation": np.linspace(1, 2, len(abilities.report.samples)),
        "recognition": scores[:, :, None, None] * np.ones((1, 1, 4, 2)),
        "explanation": np.ones((n, 2)),
        "log_odds": scores[:, 0],
        "answers": flags,
    }


@pytest.mark.parametrize(("gap", "answers"), [(0.0, 0.0), (3.0, 1.0)])
def test_an_ability_is_testable_only_where_the_intact_model_has_it(
    abilities: Abilities, gap: float, answers: float
) -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(len(abilities.pairs), 2))
    scores[:, 0] += gap - (scores.mean(axis=0)[0] - scores.mean(axis=0)[1])
    rows = list(
        Rows(abilities, Yardstick({}), 0).intact(
            values_of(abilities, scores, answers), scores[:, 1], Where(experiment="dissociation")
        )
    )
    testable = {(r.condition, r.category): r.value for r in rows if r.metric == "testable"}
    has = gap > 0
    assert testable[("recognition", "all")] == float(has)
    assert all(testable[("recognition", p)] == float(has) for p in ("harmful", "hurt", "safe", "should_help"))
    assert testable[("refusal", "refusal_log_odds")] == float(has)
    assert testable[("refusal", "refusal_rate")] == float(has)
    (found,) = [r for r in rows if r.metric == "auc" and r.category == "all"]
    assert found.value is not None, "the value stands there either way"
    assert (found.ci_low > 0.5) == has
    assert pytest.approx(27 / 539, abs=0.001) == FALSE_ALARMS


def test_the_tiny_model_is_at_floor_and_the_rows_say_so(frame: pd.DataFrame) -> None:
    assert one(frame, metric="testable", condition="refusal", category="refusal_rate")["value"] == 0
    assert one(frame, metric="refusal_rate", mask=None)["value"] == 0


# -- the refusal mask -------------------------------------------------------------------------------------------------
@pytest.fixture
def refusal(parent: Run, loaded: LoadedModel, data: PromptData) -> RefusalMasks:
    return RefusalMasks(
        open_parent(parent, loaded), data, spec_of(parent), {"none": Quota(200, 0.01), "both": Quota(200, 0.05)}
    )


def test_it_takes_the_weights_that_refusals_hang_on(refusal: RefusalMasks, parent: Run, loaded: LoadedModel) -> None:
    mask = refusal.mask("none")
    assert (mask.kind, mask.n_weights) == ("measurement", 200)
    sums = score_signed(loaded, make_batches(refusal._samples, max_tokens=512))
    harm = np.concatenate([-m.numpy().ravel() for m in sums])
    candidates = open_parent(parent, loaded).candidates
    eligible = np.concatenate([candidates.eligible(i, 0.01) for i in range(len(loaded.table))])
    best = np.sort(np.argsort(-np.where(eligible, harm, -np.inf), kind="stable")[:200])
    assert len(np.intersect1d(best, mask.to_global(loaded.table))) >= 198  # sums of other batches round differently
    assert refusal.mask("both") != mask


def test_refusals_are_read_from_both_files() -> None:
    rows = refusal_rows()
    assert len(rows) == 2 * len(read_builtin("refusals"))
    assert {r.set for r in rows} == {"refusal"}
    assert len({r.prompt_id for r in rows}) == len(rows) // 2


def test_it_lowers_refusal_and_can_be_neither_saved_nor_applied(
    refusal: RefusalMasks, frame: pd.DataFrame, loaded: LoadedModel, tmp_path: Path
) -> None:
    mask = refusal.mask("both")
    with pytest.raises(MaskInvalid, match="measurement"):
        mask.save(tmp_path / "mask.safetensors")
    with pytest.raises(MaskInvalid, match="measurement"), pruned(loaded, mask):
        pass
    assert list(tmp_path.iterdir()) == []
    change = one(frame, metric="delta_refusal_log_odds", mask=REFUSAL, control="none", contrast="both")
    assert change["ci_high"] < 0


def needles(loaded: LoadedModel, refusal: RefusalMasks) -> Iterator[bytes]:
    """What a file that held a refusal mask would contain."""
    for contrast in refusal._quotas:
        mask = refusal.mask(contrast)
        yield mask.digest.encode()
        whole = mask.to_global(loaded.table)
        for array in (whole, *(i for i in mask.indices.values() if len(i) > 1)):
            for kind in ("<u4", "<i4", "<i8", "<u8"):
                yield array.astype(kind).tobytes()
            yield json.dumps(array.tolist())[1:-1].encode()


def test_nothing_of_it_is_ever_on_disk(
    parent: Run, loaded: LoadedModel, data: PromptData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for before every stage, after an interruption, and in the complete run."""
    kept: list[RefusalMasks] = []
    scored = RefusalMasks.__init__

    def remembered(self: RefusalMasks, *args: Any, **kwargs: Any) -> None:
        scored(self, *args, **kwargs)
        kept.append(self)

    monkeypatch.setattr(RefusalMasks, "__init__", remembered)
    seen: set[str] = set()

    def look() -> None:
        if not kept or not kept[-1]._masks:
            return
        wanted = list(needles(loaded, kept[-1]))
        assert len(wanted) > 10
        for path in (p for p in tmp_path.rglob("*") if p.is_file()):
            held = path.read_bytes()
            assert not any(w in held for w in wanted), f"{path.name} holds indices of the refusal mask"
            assert path.suffix in {".npy", ".json", ".parquet", ".lock"}, path.name
            if path.suffix == ".npy":
                assert np.load(path).size < 5000, "only values per item"

    def listener(state: dict[str, Any]) -> None:
        if state["stage"] not in seen:
            seen.add(state["stage"])
            look()
            if state["stage"] == "recognition.refusal-none":
                raise Stop

    with pytest.raises(Stop):
        run_dissociation(parent, loaded, data, SMALL, root=tmp_path, listener=listener)
    look()
    made = run_dissociation(parent, loaded, data, SMALL, root=tmp_path, resume=True, listener=listener)
    look()
    assert {"refusal-mask", "generation.refusal-both", "rows.dissociation"} <= seen
    assert made.masks() == {}
    assert made.manifest["method"]["refusal_mask"]["kind"] == "measurement"
    assert set(made.manifest["method"]["refusal_mask"]) == {"kind", "n_weights", "n_scored"}
    assert not (made.path / "candidates.safetensors").exists()


def test_the_weights_are_back_afterwards(made: Run, loaded: LoadedModel, tiny_dir: Path) -> None:
    from harmviz.masks.apply import hash_weights

    assert hash_weights(loaded) == hash_weights(load_model(str(tiny_dir)))


# -- interruption, options, errors ------------------------------------------------------------------------------------
def test_interrupted_at_stages_of_every_kind_and_resumed_it_is_the_same(
    parent: Run, loaded: LoadedModel, data: PromptData, made: Run, tmp_path: Path
) -> None:
    before = (
        "recognition.intact",
        "match",
        "refusal-mask",
        "explanation.harm-none",
        "answers.random1-none",
        "log_odds.refusal-both",
        "rows.dissociation",
    )
    stopped: set[str] = set()

    def listener(state: dict[str, Any]) -> None:
        if state["stage"] in before and state["stage"] not in stopped:
            stopped.add(state["stage"])
            raise Stop

    again = None
    for _ in range(len(before) + 1):
        try:
            again = run_dissociation(parent, loaded, data, SMALL, root=tmp_path, resume=True, listener=listener)
            break
        except Stop:
            assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert stopped == set(before)
    assert again is not None
    assert again.id == made.id
    assert result_digest(again) == result_digest(made)


def test_it_is_made_once(parent: Run, loaded: LoadedModel, data: PromptData, made: Run) -> None:
    def never(state: dict[str, Any]) -> None:
        raise AssertionError("nothing is to be computed")

    assert run_dissociation(parent, loaded, data, SMALL, root=made.path.parent, listener=never).id == made.id


@pytest.mark.parametrize("changed", [("--seed", "1"), ("--draws", "1"), ("--pairs", "9"), ("--prompts", "5")])
def test_every_option_changes_the_output(
    changed: tuple[str, str],
    tiny_dir: Path,
    tiny_run: Path,
    made: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = dict(zip(OPTIONS[::2], OPTIONS[1::2], strict=True)) | {changed[0]: changed[1]}
    flat = [word for pair in options.items() for word in pair]
    assert (
        main(
            [
                "experiment",
                "dissociation",
                str(tiny_run),
                "--model",
                str(tiny_dir),
                *flat,
                "--out",
                str(tmp_path),
                "--json",
            ]
        )
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"run_id", "path", "finding", "rows"}
    assert document["run_id"] != made.id
    ours = pd.DataFrame(document["rows"])
    assert not ours[["value", "ci_low", "ci_high"]].equals(made.results()[["value", "ci_low", "ci_high"]])


def test_the_table_says_what_is_not_testable(
    tiny_dir: Path, tiny_run: Path, made: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "experiment",
        "dissociation",
        str(tiny_run),
        "--model",
        str(tiny_dir),
        *OPTIONS,
        "--out",
        str(made.path.parent),
    ]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert str(made.path) in shown
    for words in (
        "refusal mask",
        "benign-signed",
        "change of keyword rate (not testable)",
        "matched strength",
        "keyword recall",
        "stored nowhere",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--draws", "0"), "draws must be a whole number from 1 to 20, got 0"),
        (("--pairs", "3"), "pairs must be a whole number from 8"),
        (("--prompts", "2"), "prompts must be a whole number from 4"),
        (("--seed", "-1"), "seed must be a whole number from 0"),
        (("--data", "nothing.jsonl"), "does not exist"),
    ],
)
def test_bad_settings_are_one_line(
    arguments: tuple[str, ...], said: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", "dissociation", str(tiny_run), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_other_data_is_refused(parent: Run, loaded: LoadedModel, data: PromptData) -> None:
    fewer = PromptData(data.id, data.rows[1:], {}, ())
    with pytest.raises(RunIncompatible, match="was made on other data than 'builtin'"):
        run_dissociation(parent, loaded, fewer, SMALL)


def test_another_model_is_refused(parent: Run, data: PromptData) -> None:
    from tests.worlds.tiny import tiny_model

    with pytest.raises(RunIncompatible, match="was made with other weights"):
        run_dissociation(parent, tiny_model(seed=1), data, SMALL)


def test_a_run_without_a_chosen_point_and_an_experiment_are_refused(
    parent: Run, made: Run, loaded: LoadedModel, data: PromptData, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunIncompatible, match="masks come from map runs"):
        run_dissociation(made, loaded, data, SMALL)
    method = {k: v for k, v in parent.manifest["method"].items() if k != "headline"}
    bare = Run(parent.path, {**parent.manifest, "method": method})
    with pytest.raises(RunIncompatible, match="has no mask to try"):
        run_dissociation(bare, loaded, data, SMALL)


def test_a_run_on_a_file_asks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.worlds.fabricated import manifest

    run = make_run(tmp_path, "of-a-file-0123456789", data={**manifest()["data"], "id": "mine"})
    assert main(["experiment", "dissociation", str(run.path)]) == 2
    assert "made on the file 'mine'; give it with --data" in capsys.readouterr().err


def test_without_recognition_pairs_there_is_no_experiment(
    parent: Run, loaded: LoadedModel, data: PromptData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmviz.claims.dissociation.recognition.read_builtin", lambda name: [])
    with pytest.raises(DataInvalid, match="recognition needs at least 8 pairs"):
        run_dissociation(parent, loaded, data, SMALL)
