"""The stage scene in real Chromium, from the click that begins it to the last word, beside the same decoding without a
page: what a server, a browser and their polling cost the decoder.

Three panes (intact, mask, random control) are written in step, as in the Playground. A page asks for news three times a
second, so that no time below a third of a second is told apart.
"""

from __future__ import annotations

import time
from typing import Any

from harmviz.bench.dashboard import dashboard
from harmviz.bench.figure import Figure, Reference
from harmviz.bench.timing import TRIALS
from harmviz.errors import RunNotFound
from harmviz.runs import Run, list_runs, shipped_runs

_LIMIT = 180_000.0
_WRITING = ".hv-status:has(.lamp.busy):has-text('writing')"
_RESTING = "[data-testid=stApp][data-test-script-state=notRunning]"
_DONE = ".hv-status:has(.lamp:not(.busy)):has-text('done')"


def bench() -> list[Figure]:
    """Seconds from a click to what a room waits for, and tokens a second of each of three panes.

    Raises:
        RunNotFound: no stage scene is stored.
        HarmvizError: no Chromium or no playwright is installed.
    """
    scene = _scene()
    with dashboard() as (browser, url):
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        start = time.perf_counter()
        page.goto(url)
        begin = page.locator(".st-key-scene_begin button")
        begin.wait_for(timeout=_LIMIT)
        opened = time.perf_counter() - start

        start = time.perf_counter()
        begin.click()
        page.locator(".hv-pane .answer").first.wait_for(timeout=_LIMIT)
        recorded = time.perf_counter() - start
        page.locator(_DONE).first.wait_for(timeout=_LIMIT)
        loaded = time.perf_counter() - start

        switched = _switch(page)
        page.get_by_text("Advanced", exact=True).click()
        plays = [_replay(page) for _ in range(min(TRIALS, 3))]
    first, whole, n_tokens = (sorted(values)[len(values) // 2] for values in zip(*plays, strict=True))
    rate = (n_tokens - 1) / (whole - first)
    return [
        Figure("address to first picture", opened, "s"),
        Figure("click to recorded answers", recorded, "s"),
        Figure("click to live answers whole, model loaded on the way", loaded, "s"),
        Figure("switch intact, pruned", switched, "s"),
        Figure("click to first live token", first, "s", trials=len(plays)),
        Figure("click to live answers whole", whole, "s", trials=len(plays)),
        Figure(
            "three panes, each",
            rate,
            "tokens/s",
            reference=Reference(_without_a_page(scene), "the same three decoded without a page"),
            trials=len(plays),
        ),
    ]


def _scene() -> Run:
    """The scene that pages open with.

    Raises:
        RunNotFound: none is stored.
    """
    scenes = [run for run in list_runs() if run.manifest["method"].get("experiment") == "scene"]
    chosen = [run for run in scenes if run.id in shipped_runs()] or scenes
    if not chosen:
        raise RunNotFound("there is no stage scene to play; make one with `python -m harmviz experiment scene`")
    return chosen[0]


def _switch(page: Any) -> float:
    """Seconds from a click on *Intact* until the pruned answer is gone."""
    panes = page.locator(".hv-pane").count()
    start = time.perf_counter()
    page.locator(".st-key-play_switch").get_by_text("Intact", exact=True).click()
    page.wait_for_function(
        "n => document.querySelectorAll('.hv-pane').length < n", arg=panes, polling=20, timeout=_LIMIT
    )
    seconds = time.perf_counter() - start
    page.locator(_RESTING).wait_for(timeout=_LIMIT)  # a click while the page is drawn anew would be lost
    page.locator(".st-key-play_switch").get_by_text("Pruned", exact=True).click()
    page.wait_for_function("n => document.querySelectorAll('.hv-pane').length >= n", arg=panes, timeout=_LIMIT)
    page.locator(_RESTING).wait_for(timeout=_LIMIT)
    return seconds


def _replay(page: Any) -> tuple[float, float, int]:
    """(seconds to the first live token, seconds to the last, tokens of the longest pane) of one move of strength."""
    thumb = page.locator(".st-key-scene_strength [role=slider], .st-key-scene_strength input[type=range]").first
    down = thumb.get_attribute("aria-valuenow") not in ("0", "0.0")
    start = time.perf_counter()
    thumb.press("ArrowLeft" if down else "ArrowRight")
    page.locator(_WRITING).first.wait_for(timeout=_LIMIT)
    first = time.perf_counter() - start
    page.locator(_DONE).first.wait_for(timeout=_LIMIT)
    whole = time.perf_counter() - start
    n_tokens = page.evaluate(
        "() => Math.max(...[...document.querySelectorAll('.hv-pane .answer')].map(a => "
        "a.querySelectorAll('span:not(.opening)').length))"
    )
    return first, whole, int(n_tokens)


def _without_a_page(scene: Run) -> float:
    """Tokens a second of each of three variants decoded in step in this process, on the scene's first request."""
    from harmviz.claims.scene.record import MASK, RANDOM, read_records
    from harmviz.data.encoding import encode_prompt
    from harmviz.generation.decode import decode
    from harmviz.generation.variants import Variant
    from harmviz.masks.mask import PruneMask
    from harmviz.models.load import load_model

    loaded, record, masks = load_model(scene.model_id), read_records(scene)[0], scene.masks()
    variants = [Variant("intact"), *(Variant(name, PruneMask.load(masks[name])) for name in (MASK, RANDOM))]
    opening = loaded.tokenizer.encode(record.opening, add_special_tokens=False)
    prompt = [*encode_prompt(loaded.tokenizer, record.prompt), *opening]
    rates = []
    for _ in range(TRIALS):
        times = [time.perf_counter() for _ in decode(loaded, prompt, variants, max_new_tokens=record.max_new_tokens)]
        rates.append((len(times) - 1) / (times[-1] - times[0]))
    return sorted(rates)[len(rates) // 2]
