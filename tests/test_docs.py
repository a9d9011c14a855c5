"""README and docs say what the committed runs say, in few words, with links that lead somewhere."""

from __future__ import annotations

import re

import pytest

from harmviz.claims.documents import documents, parts_of, rewritten, write_documents
from harmviz.errors import DataInvalid
from harmviz.paths import PACKAGE, shipped_runs_root
from harmviz.runs import list_runs

ROOT = PACKAGE.parent


def test_documents_say_what_the_committed_runs_say() -> None:
    assert write_documents(check=True) == [], "write them with `python -m harmviz docs`"


def test_every_committed_run_has_its_finding_in_the_docs() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in documents())
    for run in list_runs(shipped_runs_root()):
        parts = parts_of(run)
        if "finding" in parts:
            assert parts["finding"]() in texts
            assert run.id in texts


def test_the_readme_is_a_front_door() -> None:
    assert (ROOT / "README.md").stat().st_size <= 8000


def test_links_lead_somewhere() -> None:
    for path in documents():
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    (run, *_) = list_runs(shipped_runs_root())
    before = f"a\n<!-- harmviz: {run.id} provenance -->\nold\n<!-- end -->\nb\n"
    after = rewritten(before, lambda name: run, "x.md")
    assert after.startswith(f"a\n<!-- harmviz: {run.id} provenance -->\nRun `{run.id}`")
    assert after.endswith("<!-- end -->\nb\n")
    assert "old" not in after
    assert rewritten(after, lambda name: run, "x.md") == after


def test_an_unknown_part_is_named() -> None:
    (run, *_) = list_runs(shipped_runs_root())
    with pytest.raises(DataInvalid, match=r"x\.md: .* has no part 'nothing'; it has provenance"):
        rewritten(f"<!-- harmviz: {run.id} nothing -->\n<!-- end -->", lambda name: run, "x.md")
