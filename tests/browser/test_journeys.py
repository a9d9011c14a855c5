"""What a visitor does, end to end in real Chromium: explore the map, read the overlap, compare two answers, start a
run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harmviz.masks.candidates import Candidates
from tests.browser.plots import read, title_of, z_of
from tests.browser.waiting import WAIT, at_rest, choose
from tests.worlds.fabricated import ALIGNED_REFERENCE, QUICK_REFERENCE

ROOT = Path(__file__).resolve().parents[2]
MAP = ".st-key-harm-map-chart .js-plotly-plot"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def workshop(tmp_path: Path, tiny_dir: Path, tiny_run: Path) -> Path:
    """A cache folder with a tiny model below ``models`` and a complete run of it."""
    cache = tmp_path / "cache"
    shutil.copytree(tiny_dir, cache / "models" / "tiny")
    shutil.copytree(tiny_run, cache / "runs" / tiny_run.name)
    return cache


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """``visit(url)``: a page in a browser of its own, as another person would open it."""
    contexts = []

    def opened(url: str, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.goto(url)
        page.get_by_role("heading", level=1).first.wait_for(timeout=WAIT)
        return page

    yield opened
    for context in contexts:
        context.close()


def go_to(page: Any, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
    page.wait_for_function(
        "name => document.title.length > 0 && "
        "document.querySelector('[data-testid=stSidebarNavLink][aria-current=page]')?.innerText.includes(name)",
        arg=name,
        timeout=WAIT,
    )


def click_cell(page: Any, chart: str, x: int, y: int) -> None:
    """Clicks the middle of a heatmap's cell (column, row as drawn), once the page is at rest and no older drawing of it
    stands beside."""
    at_rest(page)
    page.wait_for_function("c => document.querySelectorAll(c).length === 1", arg=chart, timeout=WAIT)
    page.locator(chart).scroll_into_view_if_needed()
    place = read(
        page,
        chart,
        f"""g => {{ const box = g.getBoundingClientRect(), l = g._fullLayout;
            return [box.left + l.xaxis._offset + l.xaxis.c2p({x}), box.top + l.yaxis._offset + l.yaxis.c2p({y})]; }}""",
    )
    page.mouse.click(*place)


def test_map_move_q_click_a_cell_and_hand_on_the_link(
    serve: Callable[..., Any], visit: Callable[..., Any], reference: Path
) -> None:
    with serve(reference) as url:
        page = visit(url)
        go_to(page, "Harm map")
        before = z_of(page, MAP)
        page.locator(".st-key-map_q input[type=range]").press("ArrowLeft")
        moved = z_of(page, MAP, unlike=before)
        assert json.loads(moved) != json.loads(before)
        matrix = ".st-key-matrix-chart .js-plotly-plot"
        click_cell(page, MAP, 3, 2)
        # The matrix before is drawn anew for the moved q, too: what is waited for is the one that was clicked.
        opened = read(page, matrix, "g => /^layer 3\\b/i.test(g.layout.title.text) ? g.layout.title.text : null")
        page.wait_for_function(
            "location.search.includes('map_cell') && location.search.includes('map_q')", timeout=WAIT
        )

        page.get_by_role("button", name="Link").click()
        link = page.locator("[data-testid=stPopoverBody] code").inner_text()
        assert "map_cell" in link
        assert "map_q" in link
        other = visit(link)
        assert title_of(other, matrix) == opened
        assert z_of(other, MAP) == moved


def test_a_link_into_a_page_works_on_a_server_nobody_has_visited(
    serve: Callable[..., Any], visit: Callable[..., Any], reference: Path
) -> None:
    with serve(reference) as url:
        page = visit(f"{url}/harm_map")
        z_of(page, MAP)
        page.get_by_text("No live model").wait_for(timeout=WAIT)  # the frame is around the page


def test_overlap_then_transfer(serve: Callable[..., Any], visit: Callable[..., Any], reference: Path) -> None:
    with serve(reference) as url:
        page = visit(url)
        go_to(page, "Overlap & transfer")
        grid = ".st-key-overlap-jaccard-chart .js-plotly-plot"
        plain = z_of(page, grid)
        page.locator(".st-key-overlap_contrast").get_by_text("contrastive").click()
        z_of(page, grid, unlike=plain)
        page.get_by_role("tab", name="Transfer").click()
        transfer = ".st-key-overlap-transfer-chart .js-plotly-plot"
        rows = json.loads(z_of(page, transfer))
        types = Candidates.load(ALIGNED_REFERENCE / "candidates.safetensors").categories
        assert len(rows) == len(types)
        assert all(len(row) >= len(types) + 2 for row in rows), "the types, then harmless sets"


# -- the Playground ---------------------------------------------------------------------------------------------------
def load(page: Any) -> None:
    at_rest(page)
    page.locator("[data-testid=stMain]").get_by_role("button", name="Load").first.click()
    page.locator(".st-key-play_run button:not([disabled])").first.wait_for(timeout=120_000)


def run_comparison(page: Any) -> None:
    """Starts a comparison and waits until the stage shows it, and no longer an earlier one that had ended."""
    at_rest(page)  # a click while the page is still being drawn after loading can be lost
    page.evaluate("() => document.querySelectorAll('.hv-status').forEach(s => { s.dataset.earlier = 'yes'; })")
    page.locator(".st-key-play_run button").first.click()
    page.locator(".hv-status:not([data-earlier])").wait_for(timeout=WAIT)


def answers(page: Any) -> list[str]:
    """The panes' answers, the marks between tokens left out."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll('.hv-pane .answer')].map(a => { const c = a.cloneNode(true);
            c.querySelectorAll('.mark, .caret, .opening').forEach(m => m.remove()); return c.textContent; })"""
        )
    )


def lengths(page: Any) -> list[int]:
    """Tokens in each pane."""
    return list(
        page.evaluate(
            "() => [...document.querySelectorAll('.hv-pane .answer')].map(a => "
            "a.querySelectorAll('span:not(.opening)').length)"
        )
    )


def ended(page: Any, timeout: int = 240_000) -> None:
    page.locator(".hv-status .lamp:not(.busy)").wait_for(timeout=timeout)
    page.locator(".st-key-play_stop button[disabled]").first.wait_for(timeout=WAIT)
    at_rest(page, ".hv-panes")  # the panes are drawn after the line and the button that say so


def test_play_the_embedded_model(serve: Callable[..., Any], visit: Callable[..., Any], reference: Path) -> None:
    with serve(reference) as url:
        page = visit(f"{url}?run={QUICK_REFERENCE.name}")
        go_to(page, "Playground")
        choose(page, ".st-key-play_preset input", "An insult for a latecomer")
        load(page)
        run_comparison(page)
        page.wait_for_function("() => document.querySelectorAll('.hv-pane .answer span').length > 6", timeout=WAIT)
        seen = lengths(page)
        assert max(seen) - min(seen) <= 1, "the panes are written in step"
        ended(page)
        intact, masked, *_ = answers(page)
        assert intact != masked, "the mask changes the answer"
        page.locator(".hv-panes").scroll_into_view_if_needed()
        at_rest(page, ".hv-panes")
        page.locator(".hv-pane .mark").first.wait_for(timeout=WAIT)
        (ROOT / "artifacts").mkdir(exist_ok=True)
        page.screenshot(path=ROOT / "artifacts" / "playground-live.png")
        page.locator(".hv-pane .answer").locator("span.s3, span.s4, span.s5").first.wait_for(timeout=WAIT)  # surprise

        page.get_by_text("Advanced", exact=True).click()
        thumb = page.locator(".st-key-play_strength input[type=range]")
        for _ in range(20):  # 1.00 → 0.00 in steps of 0.05
            thumb.press("ArrowLeft")
        page.locator(".hv-panes.outdated").wait_for(timeout=WAIT)
        page.get_by_role("button", name="Run again with these settings").click()
        page.locator(".hv-panes.outdated").wait_for(state="detached", timeout=WAIT)
        ended(page)
        same = answers(page)
        assert len(same) >= 2
        assert set(same) == {intact}, "at strength 0 all panes are the intact model"

        for _ in range(20):
            thumb.press("ArrowRight")
        page.get_by_role("button", name="Run again with these settings").click()
        page.locator(".hv-panes.outdated").wait_for(state="detached", timeout=WAIT)
        page.wait_for_function("() => document.querySelectorAll('.hv-pane .answer span').length > 4", timeout=WAIT)
        page.locator(".st-key-play_stop button").first.click()
        ended(page, 20_000)
        assert max(lengths(page)) < 96
        page.get_by_text("stopped").first.wait_for(timeout=WAIT)


def test_two_browsers_with_different_masks_each_get_their_own(
    serve: Callable[..., Any], visit: Callable[..., Any], workshop: Path
) -> None:
    def alone(page: Any) -> list[str]:
        run_comparison(page)
        ended(page)
        return answers(page)

    with serve(workshop) as url:
        first = visit(f"{url}/playground")
        load(first)
        second = visit(f"{url}/playground?play_contrast=as+in+the+paper")
        second.locator(".st-key-play_run button:not([disabled])").first.wait_for(timeout=WAIT)
        mine, yours = alone(first), alone(second)
        assert mine[0] == yours[0], "the intact model is one and the same"
        assert mine[1] != yours[1], "two masks, two answers"
        run_comparison(first)
        run_comparison(second)
        ended(second)
        ended(first)
        assert (answers(first), answers(second)) == (mine, yours)


def test_what_a_model_writes_is_text(
    serve: Callable[..., Any], visit: Callable[..., Any], workshop: Path, tmp_path: Path
) -> None:
    pieces = [
        '<img src=x onerror="window.hacked=1">',
        "<script>window.hacked=1</script>",
        "[click](http://127.0.0.1:9/)",
        "![p](http://127.0.0.1:9/p.png)",
        "**bold**",
        "</style>",
        "</div>",
        "$x^2$",
        ":red[x]",
        "# head",
    ]
    hostile_tokenizer(workshop / "models" / "tiny", pieces)
    with serve(workshop) as url:
        page = visit(f"{url}/playground")
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        load(page)
        run_comparison(page)
        ended(page)
        shown = "".join(answers(page))
        assert any(piece in shown for piece in pieces), "the answers hold the pieces, letter by letter"
        inside = page.locator(".hv-pane .answer")
        assert inside.locator("img, script, a, strong, style, h1").count() == 0
        assert page.evaluate("window.hacked") is None
        assert not [u for u in asked if ":9/" in u]


def hostile_tokenizer(folder: Path, pieces: list[str]) -> None:
    """Renames every letter of the tokenizer in ``folder``, so that whatever the model writes is markup."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    vocab = document["model"]["vocab"]
    renamed = {}
    for token, i in vocab.items():
        renamed[token if i < 5 else f"{pieces[i % len(pieces)]}{i}"] = i
    document["model"]["vocab"] = renamed
    path.write_text(json.dumps(document))


# -- Runs -------------------------------------------------------------------------------------------------------------
def test_start_a_run_reload_and_find_it_in_the_picker(
    serve: Callable[..., Any], visit: Callable[..., Any], workshop: Path
) -> None:
    for run in (workshop / "runs").iterdir():
        shutil.rmtree(run)
    with serve(workshop) as url:
        page = visit(f"{url}/runs")
        page.get_by_role("tab", name="Start a run").click()
        page.locator(".st-key-runs_source").get_by_text("On this disk").first.click()
        page.locator(".st-key-runs_data").get_by_text("Mild, built in").first.click()
        page.locator(".st-key-runs_quick label").first.click()
        samples = page.locator(".st-key-runs_samples_quick input")
        samples.fill("4")
        samples.press("Enter")
        at_rest(page)
        page.get_by_text("More options").first.click()
        tokens = page.locator(".st-key-runs_tokens_quick input")
        tokens.fill("16")
        tokens.press("Enter")
        page.get_by_text("--max-response-tokens=16").wait_for(timeout=WAIT)
        page.get_by_text("It cannot start: q max is so small").wait_for(timeout=WAIT)
        choose(page, ".st-key-runs_q_max input", "0.05")
        page.locator(".st-key-runs_start button:not([disabled])").first.wait_for(timeout=WAIT)
        page.locator(".st-key-runs_start button").first.click()
        page.get_by_role("button", name="Cancel").wait_for(timeout=WAIT)
        page.reload()
        page.get_by_role("button", name="Cancel").or_(page.get_by_text("is stored")).first.wait_for(timeout=WAIT)
        page.get_by_text("is stored").first.wait_for(timeout=600_000)
        (made,) = [p.name for p in (workshop / "runs").iterdir() if (p / "manifest.json").is_file()]
        picker = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox]").first
        picker.wait_for(timeout=WAIT)
        assert "tiny" in picker.locator("input").input_value()
        assert page.get_by_text(made).first.is_visible()
