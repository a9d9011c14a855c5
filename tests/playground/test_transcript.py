"""The transcript: complete, honest about what it holds, and silent about it in its name."""

from __future__ import annotations

import json
import math

import numpy as np

from harmviz.masks.mask import PruneMask
from harmviz.playground.panes import PaneLabel
from harmviz.playground.presets import preset_of, presets
from harmviz.playground.transcript import WARNING, as_json, as_text, file_name, record
from harmviz.worker import ModelKey, Pane, PaneView, Request, Snapshot

MASK = PruneMask(
    {"w": np.array([1, 2])},
    "harm",
    "ab" * 32,
    {"set": "mean(all)", "q": 1e-5, "p": 0.01, "scoring_prompts": ["h1", "h2"]},
)
REQUEST = Request(
    ModelKey("m"),
    "Say <b>something</b>",
    (Pane("intact"), Pane("mask", MASK, 0.5)),
    opening="Sure",
    max_new_tokens=8,
    seed=3,
)
LABELS = (PaneLabel("intact", "Intact", "as it is", "intact"), PaneLabel("harm", "Pruned", "all types", "mask"))
FACTS = {
    "created": "2026-01-02T03:04:05+00:00",
    "run_id": "r-1",
    "weight_hash": "ab" * 32,
    "device": "cpu",
    "dtype": "float32",
}


def views() -> tuple[PaneView, PaneView]:
    common = dict(tokens=("a ", "b"), text="a b", divergence=(0.125,), tokens_per_s=9.0, finished="eos", refusal=False)
    return (
        PaneView(
            "intact",
            0,
            1.0,
            None,
            surprise=(0.5, 1.5),
            first_difference=None,
            perplexity=math.e,
            repetition=None,
            **common,
        ),
        PaneView(
            "mask",
            2,
            0.5,
            MASK.digest,
            surprise=(0.5, math.inf),
            first_difference=1,
            perplexity=math.inf,
            repetition=0.0,
            **common,
        ),
    )


def document() -> dict:
    return record(REQUEST, Snapshot("done", 0, "", 1.5, "<|user|>Say", views(), None), LABELS, FACTS)


def test_json_holds_prompt_template_settings_masks_and_measures() -> None:
    read = json.loads(as_json(document()))
    assert read["warning"] == WARNING
    assert (read["prompt"], read["opening"], read["template"]) == ("Say <b>something</b>", "Sure", "<|user|>Say")
    assert read["settings"] == {"model": "m", "max_new_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 3}
    assert read["weight_hash"] == "ab" * 32
    assert read["run_id"] == "r-1"
    intact, pruned = read["panes"]
    assert intact["mask"] is None
    assert intact["surprise"] == [0.5, 1.5]
    assert pruned["mask"] == {
        "digest": MASK.digest,
        "kind": "harm",
        "n_weights": 2,
        "strength": 0.5,
        "set": "mean(all)",
        "q": 1e-5,
        "p": 0.01,
    }
    assert pruned["first_difference"] == 1
    assert pruned["perplexity"] is None  # JSON has no infinity
    assert pruned["surprise"] == [0.5, None]
    assert pruned["tokens"] == ["a ", "b"]


def test_text_begins_with_the_warning_and_holds_every_answer_as_it_is() -> None:
    shown = as_text(document()).decode()
    assert shown.startswith(WARNING)
    for part in (
        "Say <b>something</b>",
        "PRUNED",
        MASK.digest,
        "strength 0.5",
        "token 2",
        "none, the same words",
        "repetition: not measured",
        "run id: r-1",
    ):
        assert part in shown, part
    assert shown.count("\na b\n") == 2


def test_the_file_name_says_when_and_nothing_else() -> None:
    assert file_name(FACTS["created"], "json") == "harmviz-transcript-20260102-030405.json"


def test_presets_are_mild_distinct_and_found_by_their_exact_words() -> None:
    found = presets()
    assert 8 <= len(found) <= 12
    assert sum(not p.harmful for p in found.values()) >= 2
    assert len({p.prompt for p in found.values()}) == len(found)
    assert "own" not in found  # the menu's entry for a text of the reader's own
    for preset in found.values():
        assert preset_of(preset.prompt, preset.opening) == preset
        assert preset_of(preset.prompt + " ", preset.opening) is None
        assert preset_of(preset.prompt, preset.opening + "!") is None
