"""``mask`` beyond a run's own lists: read off two checkpoints, and laid over others."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.claims.mapping import others
from harmviz.claims.mapping.gate import Gate, Judged
from harmviz.cli import main
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs import open_run
from harmviz.stats.estimate import Estimate
from tests.worlds.fabricated import REFERENCE


def document(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What stderr says; nothing on stdout."""
    capsys.readouterr()
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.fixture(scope="module")
def known(quick_run: Path) -> Path:
    """The file of a mask that the quick run selected."""
    return open_run(quick_run).masks()["headline-plain"]


@pytest.fixture(scope="module")
def pruned_dir(tiny_dir: Path, known: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model pruned with that mask, saved by transformers in shards, in bfloat16."""
    loaded = load_model(str(tiny_dir), device="cpu")
    folder = tmp_path_factory.mktemp("pruned") / "tiny-pruned"
    with pruned(loaded, PruneMask.load(known)):
        copy.deepcopy(loaded.model).to(torch.bfloat16).save_pretrained(folder, max_shard_size="10KB")
    return folder


def verdict(monkeypatch: pytest.MonkeyPatch, beyond: float) -> None:
    """Whatever the model does, the gate finds this shift."""
    shift = Estimate(beyond, beyond - 0.5, beyond + 0.5, 12, 12)
    monkeypatch.setattr(others.Gate, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(
        Gate, "judge", lambda gate, name, point, mask: Judged(name, point, mask.n_weights, shift, shift)
    )


def test_a_mask_comes_back_from_the_model_it_pruned(tiny_dir, quick_run, pruned_dir, known, tmp_path, capsys) -> None:
    target = tmp_path / "got.safetensors"
    argv = ["mask", "--from-checkpoints", str(tiny_dir), str(pruned_dir), "--out", str(target)]
    facts = document(capsys, *argv, "--compare-with", str(quick_run))
    mask = PruneMask.load(target)
    assert mask == PruneMask.load(known)
    assert (facts["digest"], facts["kind"], facts["path"]) == (mask.digest, "harm", str(target))
    assert facts["changes"] == []
    assert mask.provenance["origin"] == "checkpoints"
    assert mask.provenance["base"]["weight_hash"] == mask.model_hash
    assert mask.provenance["pruned"]["dtype"] == "bfloat16"
    assert mask.provenance["gate"]["n"] == facts["gate"]["n"] == 12
    beside = {item["with"]: item for item in facts["compared"]}
    assert beside["headline-plain"]["jaccard"] == 1
    assert 0 < beside["headline-plain"]["jaccard_ceiling"] < 1
    assert beside["headline-plain"]["chance"]["jaccard"] < 0.5
    assert beside["as in the paper, of equal size"]["n_weights"] == mask.n_weights
    assert "headline-plain.random" not in beside
    assert "headline-plain.safe_signed" in beside


def test_it_is_used_like_any_other(tiny_dir, pruned_dir, tmp_path, monkeypatch, capsys) -> None:
    verdict(monkeypatch, 0.1)
    target = tmp_path / "got.safetensors"
    assert main(["mask", "--from-checkpoints", str(tiny_dir), str(pruned_dir), "--out", str(target)]) == 0
    assert "nothing else differs" in capsys.readouterr().out
    answers = document(
        capsys, "generate", "--model", str(tiny_dir), "--mask", str(target), "--prompt", "Hi", "--max-new-tokens", "2"
    )
    assert answers["variants"][1]["mask_digest"] == PruneMask.load(target).digest
    assert main(["eval", "--model", str(tiny_dir), "--mask", str(target), "--data", "builtin"]) == 0
    assert "what this mask was scored on is not known" in capsys.readouterr().err


def test_a_mask_that_lessens_declining_is_written_nowhere(tiny_dir, pruned_dir, tmp_path, monkeypatch, capsys) -> None:
    verdict(monkeypatch, -5.0)
    target = tmp_path / "got.safetensors"
    said = refused(capsys, "mask", "--from-checkpoints", str(tiny_dir), str(pruned_dir), "--out", str(target))
    assert "makes declining less likely (-5.0 nats" in said
    assert "measurement-only" in said
    assert not target.exists()


def test_without_a_file_only_counts_are_told_and_no_model_is_loaded(
    tiny_dir, pruned_dir, known, monkeypatch, capsys
) -> None:
    def loads(*_: object, **__: object) -> LoadedModel:
        raise AssertionError("no model is needed")

    monkeypatch.setattr("harmviz.models.load.load_model", loads)
    facts = document(capsys, "mask", "--from-checkpoints", str(tiny_dir), str(pruned_dir))
    assert facts["n_weights"] == PruneMask.load(known).n_weights
    assert not {"path", "digest", "indices"} & facts.keys()
    assert main(["mask", "--from-checkpoints", str(tiny_dir), str(pruned_dir)]) == 0
    assert "not written: give --out FILE" in capsys.readouterr().out
    said = refused(capsys, "mask", "--from-checkpoints", str(pruned_dir), str(tiny_dir))
    assert "no scored weight is zero" in said
    assert "give the intact model first" in said


def test_mask_files_are_laid_over_each_other(known, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))  # no run of this model is here
    other = PruneMask.load(known)
    name, index = next(iter(other.indices.items()))
    smaller = PruneMask({name: index[:1]}, "harm", "0" * 64)
    path = smaller.save(tmp_path / "smaller.safetensors")
    (item,) = document(capsys, "mask", str(path), "--compare-with", str(known))["compared"]
    assert (item["intersection"], item["jaccard"]) == (1, item["jaccard_at_most"])
    assert (item["chance"], item["jaccard_ceiling"], item["same_weights"]) == (None, None, False)
    assert main(["mask", str(path), "--compare-with", str(known)]) == 0
    out = capsys.readouterr().out
    assert "chance is not known" in out
    assert "* of other weights" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "give RUN (a run, or a mask file) or --from-checkpoints"),
        (("latest", "--from-checkpoints", "a", "b"), "one of them"),
        (("latest",), "needs --categories, --q, --out"),
        (("--from-checkpoints", "a", "b", "--q", "1e-5"), "--q selects a mask in a run"),
        (("--from-checkpoints", "a", "b", "--model", "c"), "--model selects a mask in a run"),
        (("--from-checkpoints", "a", "b", "--contrast", "both"), "--contrast selects a mask in a run"),
        (("{mask}", "--compare-with", "{mask}", "--device", "cpu"), "--device selects a mask in a run"),
        (
            ("latest", "--categories", "all", "--q", "1e-5", "--out", "f", "--data", "d"),
            "--data goes with --from-model",
        ),
        (("{mask}",), "is a mask already"),
        (("{mask}", "--out", "f"), "is a mask already"),
        (("{mask}", "--compare-with", "no-such-run"), "no run named"),
        (("--from-checkpoints", "nowhere", "b"), "model 'nowhere' is neither"),
    ],
)
def test_what_does_not_go_together(argv: tuple[str, ...], said: str, known: Path, capsys) -> None:
    assert said in refused(capsys, "mask", *(a.replace("{mask}", str(known)) for a in argv))


@pytest.mark.slow
def test_the_embedded_model_pruned_with_a_known_mask(tmp_path: Path, capsys) -> None:
    """Saved by transformers in shards, in bfloat16; the mask of the committed run comes back to the bit."""
    run = open_run(REFERENCE)
    path = run.masks()["headline-contrastive"]
    loaded = load_model(dtype="float32", device="cpu")
    with pruned(loaded, PruneMask.load(path)):
        copy.deepcopy(loaded.model).to(torch.bfloat16).save_pretrained(tmp_path / "pruned", max_shard_size="60MB")
    del loaded
    assert len(list((tmp_path / "pruned").glob("*.safetensors"))) > 2
    target = tmp_path / "got.safetensors"
    argv = ("mask", "--from-checkpoints", run.model_name, str(tmp_path / "pruned"), "--out", str(target))
    facts = document(capsys, *argv, "--compare-with", run.id)
    assert PruneMask.load(target) == PruneMask.load(path)
    assert facts["changes"] == []
    assert facts["gate"]["ci_high"] > -2
    (same,) = [item for item in facts["compared"] if item["with"] == "headline-contrastive"]
    assert (same["jaccard"], same["same_weights"]) == (1, True)
    assert np.isclose(same["jaccard_ceiling"], 0.0191, atol=1e-3)
