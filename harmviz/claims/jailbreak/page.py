"""The page: attack × mask. What gets through, and does the pruned model resist? Reads the stored experiment only."""

from __future__ import annotations

import streamlit as st
from streamlit.elements.plotly_chart import PlotlyState

from harmviz.claims.jailbreak import setup
from harmviz.claims.jailbreak.answers import panes, requests, transcripts
from harmviz.claims.jailbreak.attacks import given
from harmviz.claims.jailbreak.claim import CLAIM
from harmviz.claims.jailbreak.finding import GROUPS, VIEWS, Grid, finding_lines, grid_of
from harmviz.claims.jailbreak.pictures import attack_grid, pooled_rates
from harmviz.display.glossary import explained
from harmviz.runs import Run
from harmviz.ui import chart, experiments, frame, shield, stored, theme

REQUEST = "jail_request"
ANSWERS = "jailbreaks_answers"
_CLICKED = "_jail_clicked"
_PAPER = (
    "Surface guardrails stay brittle: jailbreaks pass them. But without the compact set of harm weights, some 0.0005 "
    "to 0.001 % of all parameters, the model resists them (Orgad et al. 2026, on models of 7 to 32 billion parameters)."
)


def show() -> None:
    """The whole page."""
    frame.title(
        CLAIM.question,
        "Known jailbreaks, put to the intact model, to the pruned one and to controls; benign requests show the cost.",
    )
    run = experiments.chosen_or_stop(
        CLAIM.name,
        command=f"python -m harmviz experiment {CLAIM.name} RUN",
        what="This page shows how often each jailbreak is refused by the intact model, under each mask of a run, and "
        "under controls of equal size.",
    )
    with frame.shown_errors():
        grid, names = grid_of(run, stored.results(run)), setup.attack_names(run)
        metric = None
        if grid.metrics():
            metric, view = _choices(grid)
            _clicked(chart.show(attack_grid(grid, names, metric, view, theme.current()), selectable=True), grid, names)
        with frame.folded("Answers side by side: click a cell to read its own", ANSWERS, ":material/forum:") as answers:
            if answers.open:
                _side_by_side(run, names, grid.groups)
        with frame.details("jailbreaks") as details:
            if details.open:
                _details(run, grid, metric)


def _details(run: Run, grid: Grid, metric: str | None) -> None:
    """The claim beside what was found, the set-up, the judges, the attacks."""
    frame.html(setup.set_up(run))
    if metric is not None:
        frame.section("The paper's claim, and what was found here")
        frame.html(claim_box(grid))
        if pooled := pooled_rates(grid, metric, theme.current()):
            chart.show(pooled)
    frame.section("What the judges are worth", "Every rate above rests on one of them.")
    frame.html(setup.judge_notes(run))
    frame.section(
        "The attacks",
        "Wrappers written for this grid after published attacks. They hold no harmful detail of their own.",
    )
    frame.html(setup.attack_list(run))


def _clicked(state: PlotlyState | None, grid: Grid, names: dict[str, str]) -> None:
    """Takes a click on a cell into the controls of the answers below it: once, so that they can be moved on."""
    points = [] if state is None else state["selection"]["points"]
    cell = tuple(points[0].get("customdata", ()))[:2] if points else ()
    if cell == st.session_state.get(_CLICKED, ()):
        return
    st.session_state[_CLICKED] = cell
    attack, mask = cell or ("", "")
    if mask in grid.groups:
        st.session_state["jail_masks"] = list(dict.fromkeys(["intact", mask] if "intact" in grid.groups else [mask]))
        if attack in names:
            st.session_state["jail_attack"] = attack
        st.session_state[ANSWERS] = True


def _choices(grid: Grid) -> tuple[str, str]:
    """(metric, view) that the reader chose."""
    known = grid.metrics()
    left, right = st.columns([1, 1.4], gap="medium", vertical_alignment="bottom")
    metric = left.selectbox(
        "Measure", list(known), format_func=known.__getitem__, key="jail_metric", bind="query-params"
    )
    view = right.segmented_control(
        "Show",
        list(VIEWS),
        default="rates",
        required=True,
        format_func=VIEWS.__getitem__,
        key="jail_view",
        bind="query-params",
    )
    return metric, view or "rates"


def claim_box(grid: Grid) -> str:
    """The paper's claim beside what was found, as HTML."""
    lines = finding_lines(grid) or ["Nothing was scored."]
    items = "".join(f"<li>{explained(line)}</li>" for line in lines)
    return (
        '<div class="hv hv-card"><div class="hv-body"><div><b>The claim</b>'
        f'<div>{explained(_PAPER)}</div></div><div><b>Found here</b><ul class="hv-list">{items}</ul></div></div></div>'
    )


# -- answers ----------------------------------------------------------------------------------------------------------
@st.fragment
def _side_by_side(run: Run, names: dict[str, str], masks: list[str]) -> None:
    """Stored answers to one mild request under one attack; a fragment, so that choosing redraws nothing else."""
    with frame.shown_errors():
        kept = transcripts(run)
        if not kept:
            frame.html(
                '<div class="hv hv-note">No answers were kept: only those to the mild requests that ship with harmviz '
                "are.</div>"
            )
            return
        if not shield.shows("jail-answers", mild=shield.is_mild(run)):
            return
        frame.html(
            '<div class="hv quiet">To mild requests that ship with harmviz: an illustration, no measurement.</div>'
        )
        attacks, asked = [a for a in names if any(k.attack == a for k in kept)], requests(kept)
        left, right = st.columns([1, 1.6], gap="medium")
        attack = left.selectbox(
            "Attack",
            attacks,
            format_func=names.__getitem__,
            key="jail_attack",
            bind="query-params",
            index=min(1, len(attacks) - 1),
        )
        number = right.selectbox(
            "Request", range(len(asked)), format_func=lambda i: asked[i], key=REQUEST, index=_linked(len(asked))
        )
        # By its number: text of a request does not belong into a URL.
        if number:
            st.query_params[REQUEST] = str(number)
        else:
            st.query_params.pop(REQUEST, None)
        best = next((m for m in ("twin", "guarded") if m in masks), "contrastive")
        usual = [m for m in ("intact", best, "random") if m in masks]
        chosen = st.pills(
            "Masks",
            masks,
            selection_mode="multi",
            default=usual,
            format_func=GROUPS.__getitem__,
            key="jail_masks",
            bind="query-params",
        )
        shown = {m: GROUPS[m] for m in masks if m in (chosen or usual)}
        frame.html(panes(kept, attack, asked[number], shown))
        with st.expander("What the model was given"):
            for name, words in given(setup.attack_record(run, attack), asked[number]):
                st.caption(name)
                st.code(words, language=None, wrap_lines=True)


def _linked(n: int) -> int:
    """The request that the link names, or the first."""
    value = st.query_params.get(REQUEST, "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 4 and int(value) < n else 0
