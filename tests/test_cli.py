"""The command line as a stranger uses it: documents on stdout, one clear line for bad input, nothing left behind."""

from __future__ import annotations

import errno
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from harmviz.claims.mapping.equal_effect import equal_effects
from harmviz.cli import main
from harmviz.commands import show
from harmviz.data.prompts import read_builtin
from harmviz.errors import HarmvizError
from harmviz.masks.mask import FORMAT, PruneMask
from harmviz.models.locating import Location
from harmviz.runs import ROW_COLUMNS, open_run


def fails(capsys: pytest.CaptureFixture[str], argv: list[str], code: int, *said: str) -> None:
    """The command ends with this code and one line on stderr that says all of ``said``."""
    try:
        got = main(argv)
    except SystemExit as e:  # argparse
        got = e.code
    out, err = capsys.readouterr()
    lines = [line for line in err.strip().splitlines() if line.startswith(("harmviz:", "python -m harmviz"))]
    assert got == code, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert out == ""
    for part in said:
        assert part in lines[0]


def document(capsys: pytest.CaptureFixture[str], argv: list[str]) -> object:
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def mask_file(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    target = tmp_path / "mask.safetensors"
    assert main(["mask", str(tiny_run), "--categories", "hate,violence", "--q", "0.01", "--out", str(target)]) == 0
    capsys.readouterr()
    return target


# -- documents --------------------------------------------------------------------------------------------------------
def test_runs_lists_what_is_stored(tiny_run, monkeypatch, capsys):
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parent.parent))
    (row,) = document(capsys, ["runs"])
    assert set(row) == {"run_id", "path", "kind", "model", "created", "tags"}
    assert (row["run_id"], row["path"], row["kind"]) == (tiny_run.name, str(tiny_run), "map")
    assert main(["runs"]) == 0
    assert tiny_run.name in capsys.readouterr().out


def test_runs_without_any_says_how_to_make_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    assert document(capsys, ["runs"]) == []
    assert main(["runs"]) == 0
    assert "python -m harmviz run" in capsys.readouterr().out


def test_show_has_the_documented_keys_and_rows(tiny_run, capsys, monkeypatch):
    monkeypatch.setattr(show, "equal_effects", partial(equal_effects, targets=(1e-3,), draws=20))
    shown = document(capsys, ["show", str(tiny_run)])
    assert {"run_id", "path", "model", "n_scored_weights", "n_parameters", "categories", "rows"} <= set(shown)
    assert len(shown["categories"]) == 7
    assert shown["equal_effect"]
    assert all({"effect", "text", "paper", "ours", "difference", "halved"} <= set(e) for e in shown["equal_effect"])
    assert all(set(row) == set(ROW_COLUMNS) for row in shown["rows"])
    assert len(shown["rows"]) == len(open_run(tiny_run).results())


def test_show_prints_controls_intervals_and_both_selections(tiny_run, capsys):
    assert main(["show", str(tiny_run)]) == 0
    text = capsys.readouterr().out
    for part in (
        "plain, as in the paper",
        "contrastive",
        "harm − safe",
        "random*",
        "benign-signed",
        "unprotected",
        "causal check",
        "n=",
    ):
        assert part in text


def test_mask_document_and_file_agree(tiny_run, tmp_path, capsys):
    target = tmp_path / "m.safetensors"
    argv = ["mask", str(tiny_run), "--categories", "hate,violence", "--q", "0.01", "--out", str(target)]
    facts = document(capsys, argv)
    assert {"path", "digest", "kind", "n_weights", "q", "p", "scope", "categories", "combine"} <= set(facts)
    mask = PruneMask.load(target)
    assert (mask.digest, mask.n_weights, mask.kind) == (facts["digest"], facts["n_weights"], "harm")
    changed = {
        json.dumps(option): document(capsys, [*argv, *option])["digest"]
        for option in (
            ["--combine", "union"],
            ["--combine", "difference"],
            ["--p", "0.05"],
            ["--q", "0.02"],
            ["--contrast", "both"],
            ["--scope", "matrix"],
            ["--categories", "all"],
        )
    }
    assert facts["digest"] not in changed.values()  # every option changes the mask


def test_eval_leaves_out_scoring_prompts_and_shows_controls(tiny_dir, tiny_run, mask_file, capsys):
    argv = ["eval", "--mask", str(mask_file), "--model", str(tiny_dir), "--data", "builtin"]
    alone = document(capsys, argv)
    assert alone["mask_digest"] == PruneMask.load(mask_file).digest
    harm = [r for r in alone["rows"] if r["category"] == "hate" and r["metric"] == "delta_nll"]
    # 24 prompts a category, 8 of them scored on: 16 are left
    assert [r["n"] for r in harm] == [16]
    with_run = document(capsys, [*argv, "--run", str(tiny_run)])
    assert {r["control"] for r in with_run["rows"]} == {"none", "random", "magnitude"}
    assert any(r["metric"] == "excess_over_control" for r in with_run["rows"])


@pytest.fixture
def generate(tiny_dir, mask_file):
    """The command that answers *Hello* with and without a mask."""
    words = ["--model", str(tiny_dir), "--mask", str(mask_file), "--prompt", "Hello", "--max-new-tokens", "8"]
    return ["generate", *words]


def test_generate_puts_the_intact_model_first(generate, capsys):
    made = document(capsys, generate)
    assert [v["name"] for v in made["variants"]] == ["intact", "mask"]
    assert set(made["variants"][0]) >= {"name", "mask_digest", "strength", "text", "token_ids", "tokens_per_s"}
    weak = document(capsys, [*generate, "--strength", "0"])
    assert weak["variants"][0]["token_ids"] == weak["variants"][1]["token_ids"]


def test_generate_begins_every_answer_with_the_given_words(generate, capsys):
    alone = document(capsys, generate)
    assert alone["answer_begins"] == ""
    begun = document(capsys, [*generate, "--answer-begins", "Sure, here is"])
    assert begun["answer_begins"] == "Sure, here is"
    ids = [[v["token_ids"] for v in made["variants"]] for made in (alone, begun)]
    assert all(a != b for a, b in zip(*ids, strict=True))  # it is read by every variant
    assert main([*generate, "--answer-begins", "Sure, here is"]) == 0
    assert capsys.readouterr().out.count("\nSure, here is") == 2


def test_verify_passes_and_repeats_the_causal_check(tiny_dir, tiny_run, capsys, monkeypatch):
    from harmviz.commands import verify

    location = Location(tiny_dir.name, None, tiny_dir)
    monkeypatch.setattr("harmviz.models.load.locate", lambda name, say: location)
    report = document(capsys, ["verify", str(tiny_run), "--causal"])
    assert report["problems"] == []
    assert report["causal"]["relative_error"] < 0.02
    one, other = (
        document(capsys, ["verify", str(tiny_run), "--causal", "--category", c])["causal"] for c in ("exploits", "hate")
    )
    assert max(one["relative_error"], other["relative_error"]) < 0.05
    assert len({r["predicted"] for r in (one, other, report["causal"])}) == 3
    assert main(["verify", str(tiny_run), "--causal", "--category", "sport"]) == 2
    assert "no harm type 'sport'; it has" in capsys.readouterr().err
    monkeypatch.setattr(verify, "CAUSAL_LIMIT", 0.0)
    capsys.readouterr()
    assert main(["verify", str(tiny_run), "--causal"]) == 1
    assert "causal check" in capsys.readouterr().err


def test_verify_takes_the_data_from_where_they_are_now(tiny_dir, tiny_run, tmp_path, capsys, monkeypatch):
    location = Location(tiny_dir.name, None, tiny_dir)
    monkeypatch.setattr("harmviz.models.load.locate", lambda name, say: location)
    moved = tmp_path / "moved.jsonl"
    rows = [row for name in ("harmful", "safe", "benign") for row in read_builtin(name)]
    moved.write_text("".join(json.dumps({**row, "category": "arson"}) + "\n" for row in rows))
    assert main(["verify", str(tiny_run), "--causal", "--data", str(moved)]) == 2
    assert "is not the one run" in capsys.readouterr().err
    assert document(capsys, ["verify", str(tiny_run), "--causal", "--data", "builtin"])["problems"] == []
    for option in (["--data", "builtin"], ["--category", "hate"]):
        assert main(["verify", str(tiny_run), *option]) == 2
        assert "--causal" in capsys.readouterr().err


def test_verify_finds_a_changed_file(tiny_run, tmp_path, capsys):
    import shutil

    copy = tmp_path / tiny_run.name
    shutil.copytree(tiny_run, copy)
    with (copy / "maps.safetensors").open("r+b") as f:
        f.seek(-1, os.SEEK_END)
        f.write(b"\x01" if f.read(1) != b"\x01" else b"\x02")
    fails_argv = ["verify", str(copy)]
    assert main(fails_argv) == 1
    assert "maps.safetensors" in capsys.readouterr().err


# -- bad input --------------------------------------------------------------------------------------------------------
def run_args(model: Path | str, data: str = "builtin", *more: str) -> list[str]:
    return ["run", "--model", str(model), "--data", data, "--samples", "8", "--q-max", "0.05", *more]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_missing_data_file(tiny_dir, out, capsys):
    fails(capsys, run_args(tiny_dir, "nowhere.csv", "--out", str(out)), 2, "nowhere.csv", "does not exist")
    assert not out.exists()


def test_wrong_columns(tiny_dir, tmp_path, out, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text("category,topic,response\nhate,a,b\n")
    fails(
        capsys,
        run_args(tiny_dir, str(bad), "--out", str(out)),
        2,
        "bad.csv",
        "no columns are recognised as prompt",
        "'topic'",
    )
    assert not out.exists()


def test_empty_category(tiny_dir, tmp_path, out, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"category": "", "prompt": "a", "response": "b"}) + "\n")
    fails(capsys, run_args(tiny_dir, str(bad), "--out", str(out)), 2, "row 1", "'category'")
    bad.write_text(json.dumps({"category": "hate", "prompt": "a", "response": "b"}) + "\n")
    fails(capsys, run_args(tiny_dir, str(bad), "--out", str(out)), 2, "no usable harm category", "1 harmful rows")
    assert not out.exists()


def test_unknown_model(out, capsys):
    fails(capsys, run_args("no-such-model", "builtin", "--out", str(out)), 2, "no-such-model")
    assert not out.exists()


def test_model_without_linear_layers(tmp_path, out, capsys):
    from transformers import GPT2Config, GPT2LMHeadModel

    from tests.worlds.tiny import tokenizer

    folder = tmp_path / "flat"
    GPT2LMHeadModel(GPT2Config(vocab_size=128, n_embd=16, n_layer=0, n_head=2)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    fails(capsys, run_args(folder, "builtin", "--out", str(out)), 2, "decoder blocks")
    assert not out.exists()


def test_nan_weights(tmp_path, out, capsys):
    import torch

    from tests.worlds.tiny import tiny_model

    loaded = tiny_model("llama")
    with torch.no_grad():
        loaded.tensor(3)[0, 0] = float("nan")
    loaded.model.save_pretrained(tmp_path / "nan")
    loaded.tokenizer.save_pretrained(tmp_path / "nan")
    fails(capsys, run_args(tmp_path / "nan", "builtin", "--out", str(out)), 2, loaded.table[3].name, "NaN")
    assert not out.exists()


@pytest.mark.parametrize("value", ["-1e-5", "2", "nan", "inf", "abc", ""])
@pytest.mark.parametrize("option", ["--q", "--p"])
def test_q_or_p_out_of_range_or_no_number(tiny_run, tmp_path, capsys, option, value):
    settings = {"--q": "1e-2", "--p": "0.01", option: value}
    argv = ["mask", str(tiny_run), "--categories", "hate", "--out", str(tmp_path / "m.safetensors")]
    fails(capsys, [*argv, *(f"{k}={v}" for k, v in settings.items())], 2, option.strip("-"))
    assert not (tmp_path / "m.safetensors").exists()


def test_q_beyond_what_is_stored_says_what_is_possible(tiny_run, tmp_path, capsys):
    argv = ["mask", str(tiny_run), "--categories", "hate", "--q", "0.5", "--out", str(tmp_path / "m")]
    fails(capsys, argv, 2, "cannot be answered exactly", "use q <=")


@pytest.mark.parametrize(
    ("name", "value"), [("--samples", "0"), ("--q-max", "nan"), ("--skip-tokens", "3"), ("--seed", "-1")]
)
def test_run_options_out_of_range(tiny_dir, out, capsys, name, value):
    fails(
        capsys,
        [*run_args(tiny_dir, "builtin", "--out", str(out)), f"{name}={value}"],
        2,
        name.strip("-").replace("-", "_"),
    )
    assert not out.exists()


def test_unknown_category_and_unknown_run(tiny_run, tmp_path, capsys):
    fails(
        capsys,
        ["mask", str(tiny_run), "--categories", "gossip", "--q", "0.01", "--out", str(tmp_path / "m")],
        2,
        "gossip",
    )
    fails(capsys, ["show", "no-such-run"], 2, "no-such-run")


def test_mask_of_another_model(tmp_path, mask_file, capsys):
    from tests.worlds.tiny import tiny_model

    other = tiny_model("llama", seed=9)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    argv = ["generate", "--model", str(tmp_path / "other"), "--mask", str(mask_file), "--prompt", "Hello"]
    fails(capsys, argv, 2, "the mask was made for weights")


def test_measurement_mask_is_refused_everywhere(tiny_dir, tmp_path, capsys):
    name = "model.layers.0.mlp.down_proj.weight"
    secret = PruneMask({name: np.array([1, 2])}, "measurement", "hash")
    with pytest.raises(Exception, match="measurement-only"):
        secret.save(tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
    forged = tmp_path / "forged.safetensors"
    meta = {"format": FORMAT, "kind": "measurement", "model_hash": "hash", "digest": secret.digest, "provenance": {}}
    save_file(dict(secret.indices), forged, metadata={"harmviz": json.dumps(meta)})
    fails(
        capsys, ["generate", "--model", str(tiny_dir), "--mask", str(forged), "--prompt", "Hi"], 2, "measurement-only"
    )
    fails(capsys, ["eval", "--model", str(tiny_dir), "--mask", str(forged), "--data", "builtin"], 2, "measurement-only")


def test_truncated_safetensors(tiny_dir, tiny_run, mask_file, tmp_path, capsys):
    import shutil

    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(mask_file.read_bytes()[:-5])
    fails(capsys, ["eval", "--mask", str(cut), "--model", str(tiny_dir), "--data", "builtin"], 2, "truncated")
    model = tmp_path / "cut-model"
    shutil.copytree(tiny_dir, model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    fails(capsys, ["generate", "--model", str(model), "--prompt", "Hi"], 2, "cannot be loaded")
    copy = tmp_path / tiny_run.name
    shutil.copytree(tiny_run, copy)
    (copy / "candidates.safetensors").write_bytes((copy / "candidates.safetensors").read_bytes()[:-7])
    fails(
        capsys,
        ["mask", str(copy), "--categories", "hate", "--q", "0.01", "--out", str(tmp_path / "m")],
        2,
        "candidates",
    )


def test_disk_full_leaves_nothing_half_written(tiny_dir, tiny_run, tmp_path, out, capsys, monkeypatch):
    import harmviz.files as files

    target = tmp_path / "m.safetensors"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    fails(capsys, ["mask", str(tiny_run), "--categories", "hate", "--q", "0.01", "--out", str(target)], 1, "disk full")
    assert list(tmp_path.iterdir()) == []
    fails(capsys, run_args(tiny_dir, "builtin", "--out", str(out)), 1, "disk full")
    assert not [p for p in out.iterdir() if not p.name.startswith(".")]


def test_ctrl_c_ends_with_130_and_keeps_finished_stages(tiny_dir, out, capsys, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harmviz.claims.mapping.stages.build_candidates", interrupted)
    assert main(run_args(tiny_dir, "builtin", "--out", str(out))) == 130
    assert "--resume" in capsys.readouterr().err
    (stages,) = out.glob(".partial-*/stages")
    assert (stages / "score.utility.json").exists()


def test_only_settings_are_bad_input_other_value_errors_are_faults(tiny_run, tmp_path, capsys, monkeypatch):
    argv = ["mask", str(tiny_run), "--categories", "hate", "--q", "0.01", "--out", str(tmp_path / "m")]
    fails(capsys, [*argv, "--p", "7"], 2, "p must satisfy")

    def broken(*_: object, **__: object) -> None:
        raise ValueError("k must be >= 0, got -1")

    monkeypatch.setattr("harmviz.commands.mask.make_mask", broken)
    with pytest.raises(ValueError, match="k must be") as fault:  # Python shows where, and ends with 1
        main(argv)
    assert not isinstance(fault.value, HarmvizError)


def test_help_and_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    capsys.readouterr()
    fails(capsys, ["frobnicate"], 2, "frobnicate")
    fails(capsys, ["mask", "latest"], 2, "--categories")
