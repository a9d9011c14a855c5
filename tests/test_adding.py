"""The examples of ``docs/adding.md``, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"```\w+\n# file: (?P<file>\S+)\n(?P<text>.*?)```", re.DOTALL)
EXAMPLES = {m["file"]: m["text"] for m in _BLOCK.finditer((ROOT / "docs" / "adding.md").read_text(encoding="utf-8"))}
CLAIM = "harmviz/claims/depth"


def write(file: str, root: Path) -> Path:
    target = root / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(EXAMPLES[file], encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, to which a claim is added."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "harmviz", root / "harmviz", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "pages", root / "pages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", root)
    return root


def run(copy: Path, cache: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        env={**os.environ, "HARMVIZ_CACHE": str(cache), "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_claim_is_one_folder_and_one_page(copy: Path, tiny_run: Path, tmp_path: Path) -> None:
    """Added, it is on the command line, in lists, on its page and in the menu; removed, nothing of it is left."""
    files = [file for file in EXAMPLES if file.startswith((f"{CLAIM}/", "pages/"))]
    assert {Path(file).parent.as_posix() for file in files} == {CLAIM, "pages"}
    assert len([file for file in files if file.startswith("pages/")]) == 1
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / tiny_run.name).symlink_to(tiny_run)
    harmviz = ("-m", "harmviz")
    assert "depth" not in run(copy, tmp_path, *harmviz, "experiment", "--help")
    for file in files:
        write(file, copy)
    assert "second half of the layers" in run(copy, tmp_path, *harmviz, "experiment", "--help")
    document = json.loads(run(copy, tmp_path, *harmviz, "experiment", "depth", tiny_run.name, "--json"))
    assert document["finding"]["verdict"] in ("late", "not late")
    assert 0 <= document["rows"][0]["value"] <= 1
    assert document["rows"][0]["experiment"] == "depth"
    assert document["finding"]["sentence"] in run(copy, tmp_path, *harmviz, "show", document["run_id"])
    run(copy, tmp_path, *harmviz, "verify", document["run_id"])
    page = (
        "from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).switch_page('pages/depth.py').run()\n"
        "assert not app.exception, app.exception\n"
        "print(*(h.proto.body for h in app.get('html')), len(app.get('plotly_chart')))\n"
        "from harmviz.ui import menu\nprint([entry.title for entry in menu.entries()])\n"
    )
    drawn = run(copy, tmp_path, "-c", page)
    assert document["finding"]["sentence"] in drawn
    assert "'Depth'" in drawn
    shutil.rmtree(copy / CLAIM)
    (copy / "pages" / "depth.py").unlink()
    assert "depth" not in run(copy, tmp_path, *harmviz, "experiment", "--help")
    assert "not known" in run(copy, tmp_path, *harmviz, "show", document["run_id"])


def load(file: str, tmp_path: Path) -> dict[str, object]:
    """The names that a module of an example defines."""
    names: dict[str, object] = {}
    exec(compile(EXAMPLES[file], file, "exec"), names)
    return names


def test_a_control_of_equal_size_outside_the_mask(tiny_run: Path, tmp_path: Path) -> None:
    from harmviz.masks.candidates import Candidates
    from harmviz.masks.mask import PruneMask
    from harmviz.runs import open_run

    stored = open_run(tiny_run)
    candidates = Candidates.load(stored.candidates_path)
    mask = PruneMask.load(stored.masks()["headline-plain"])
    make = load("harmviz/masks/neighbour.py", tmp_path)["neighbour_control"]
    control = make(mask, candidates.table, lambda i: candidates.eligible(i, 0.01))  # type: ignore[operator]
    assert control.n_weights == mask.n_weights
    for name, index in mask.indices.items():
        assert len(control.indices[name]) == len(index)
        assert not np.isin(control.indices[name], index).any()
        assert candidates.eligible(candidates.table.index_of[name], 0.01)[control.indices[name]].all()


def test_a_judge_scores_and_leaves_unscored(tmp_path: Path) -> None:
    from harmviz.judges import Judge, JudgeItem

    judge = load("harmviz/judges/apology.py", tmp_path)["ApologyJudge"]()  # type: ignore[operator]
    assert isinstance(judge, Judge)
    answers = ("Sorry, no.", "Gladly.", " ")
    assert [v.value for v in judge.score([JudgeItem("?", a) for a in answers])] == [1.0, 0.0, None]


def test_an_attack_is_a_line_in_a_file(tmp_path: Path) -> None:
    from harmviz.claims.jailbreak.attacks import load_attacks

    (attack,) = [a for a in load_attacks(write("mine.jsonl", tmp_path)) if a.id == "poem"]
    assert "{request}" in attack.template


def test_a_data_set_is_a_file(tmp_path: Path) -> None:
    from harmviz.data.prompts import load_prompts

    lines = EXAMPLES["prompts.jsonl"].splitlines()
    many = [line.replace("?", f" ({i})?") for i in range(24) for line in lines]  # a type needs 24 rows
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(many), encoding="utf-8")
    assert {row.set for row in load_prompts(str(path)).rows} == {"pranks", "safe:pranks", "benign"}


def test_a_model_family_needs_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(write("family.py", tmp_path))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]
