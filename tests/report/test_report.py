"""Reports: valid HTML that needs no network, says what ``show`` says, and holds no text of the data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from harmviz.claims import CLAIMS, claim_of
from harmviz.cli import main
from harmviz.errors import RunIncompatible
from harmviz.paths import shipped_runs_root
from harmviz.report import document
from harmviz.runs import Run, open_run, read_run, shipped_runs
from tests.worlds.fabricated import ALIGNED_REFERENCE

_PLOTLY = "var Plotly = {newPlot: () => 0};"
#: The committed runs; the second map says nothing new of how reports are made, and takes seconds.
RUNS = [pytest.param(i, marks=pytest.mark.slow) if i == ALIGNED_REFERENCE.name else i for i in sorted(shipped_runs())]
LADDER = next(i for i in sorted(shipped_runs()) if "-align-" in i)
SCENE = next(i for i in sorted(shipped_runs()) if "-scene-" in i)
_EMPTY = {"meta", "link", "br", "hr", "img", "input", "col"}


@cache
def committed(run_id: str) -> tuple[Run, str]:
    """A committed run and its report, with a stand-in for plotly, which is five megabytes."""
    run = read_run(shipped_runs_root() / run_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "get_plotlyjs", lambda: _PLOTLY)
        return run, document.report(run)


class _Structure(HTMLParser):
    """Every element that is opened is closed, in order; ids are unique; nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert len(given) == len(attributes), f"an attribute of {tag} is given twice"
        assert "src" not in given
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_html(content: str) -> None:
    seen = _Structure()
    seen.feed(content)
    seen.close()
    assert seen.open == []
    assert len(seen.ids) == len(set(seen.ids))


@pytest.mark.parametrize("run_id", RUNS)
def test_every_committed_run_has_a_report(run_id: str) -> None:
    run, content = committed(run_id)
    check_html(content)
    claim = claim_of(run)
    assert run.id in content
    if claim is None:  # a ladder
        assert '<th scope="col">refusal/harmful</th>' in content
        return
    assert escape(claim.face("finding").finding(run).sentence) in content
    drawn = json.loads(re.search(r'id="figures">(.*?)</script>', content)[1])
    assert drawn
    assert all(f'<div id="{key}"' in content and figure["data"] for key, figure in drawn.items())
    assert content.count(_PLOTLY) == 1
    assert "<h2>Controls</h2>" in content or not claim.is_of_the_paper
    for heading in ("Tables", "Method", "What it does not show", "What was run", "Cite", "Manifest"):
        assert f"<h2>{heading}</h2>" in content
    assert "95 %" in content
    assert "n = " in content


def test_the_committed_runs_are_of_every_claim() -> None:
    """So that a claim whose report fails is seen by the test before."""
    runs = [read_run(shipped_runs_root() / run_id) for run_id in shipped_runs()]
    assert {claim.name for run in runs if (claim := claim_of(run))} == set(CLAIMS)


@pytest.mark.parametrize("run_id", RUNS)
def test_a_strict_parser_finds_nothing_wrong(run_id: str) -> None:
    html5lib = pytest.importorskip("html5lib", reason="a requirement of the tests alone")
    _, content = committed(run_id)
    html5lib.HTMLParser(strict=True).parse(content)
    # What a parser lets pass and the HTML standard does not: a caption is the first or the last child of its figure.
    assert content.count("</figcaption>") == content.count("</figcaption></figure>")


def test_plotly_itself_can_stand_in_a_script() -> None:
    script = document._plotly()
    assert "</script" not in script.lower()
    assert "<!--" not in script
    assert not re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", script)
    assert len(script) >= len(get_plotlyjs())


def texts(value: object) -> Iterator[str]:
    """All texts of a JSON value that are long enough to be told from words of harmviz's own."""
    if isinstance(value, str):
        if len(value) > 24:
            yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


def holds(content: str, text: str) -> bool:
    return text in content or json.dumps(text)[1:-1] in content


@pytest.mark.parametrize("run_id", RUNS)
def test_no_stored_answer_is_in_it(run_id: str) -> None:
    """Transcripts hold requests and answers, mild ones; not even these leave with a report."""
    run, content = committed(run_id)
    plain = unescape(content)
    for path in sorted(run.path.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            asked = {name: record[name] for name in record if name in ("prompt", "request", "question", "answers")}
            said = [t for name, v in record.items() for t in texts(v) if "text" in name or "answer" in name]
            assert not [t for t in (*texts(asked), *said) if holds(plain, t)], f"{path.name} of {run.id}"


@pytest.mark.slow
def test_no_text_of_the_fetched_data_is_in_it() -> None:
    from harmviz.data.prompts import load_prompts

    rows = load_prompts("pyrit").rows
    for run_id in shipped_runs():
        plain = unescape(committed(run_id)[1])
        found = sum(holds(plain, t) for row in rows for t in (row.prompt, row.response) if len(t) > 24)
        assert found == 0, f"{found} texts in the report of {run_id}"


def test_names_from_files_are_no_markup() -> None:
    """A run from elsewhere is called what somebody chose."""
    run = read_run(shipped_runs_root() / LADDER)
    evil = "</script><b>&"
    content = document.report(Run(run.path, {**run.manifest, "model": {**run.manifest["model"], "name": evil}}))
    check_html(content)
    assert evil not in content
    assert escape(evil) in content


def test_a_run_that_lacks_what_its_claim_reads_is_one_clear_error(mapped: Path) -> None:
    with pytest.raises(RunIncompatible, match=r"candidates|cannot be reported"):
        document.report(open_run("latest"))


def test_the_snippet_shows_the_picture() -> None:
    run, content = committed(SCENE)
    code = unescape(re.search(r'<code class="language-python">(.*?)</code>', content, re.DOTALL)[1])
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["run"] == run
    assert list(scope["pictures"]) == ["scene-rates"]
    assert code.strip().endswith("pictures['scene-rates'].figure")


def test_the_command_writes_it_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "report.html"
    assert main(["report", LADDER, "--out", str(target), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["path"], said["bytes"]) == (str(target), target.stat().st_size)
    before = target.read_bytes()
    assert main(["report", LADDER, "--out", str(tmp_path)]) == 2
    assert "is a folder; give a file name" in capsys.readouterr().err
    assert main(["report", "nothing"]) == 2

    def fails(run: Run) -> str:
        raise KeyError("half way")

    monkeypatch.setattr(document, "_document", fails)
    assert main(["report", LADDER, "--out", str(target)]) == 2
    assert "cannot be reported" in capsys.readouterr().err
    assert target.read_bytes() == before
