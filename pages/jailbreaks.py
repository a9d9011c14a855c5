"""Jailbreaks: attack × mask. What gets through, and does the pruned model resist? Reads the stored experiment only."""

import streamlit as st

from harmviz.claims.jailbreak import answers, figures
from harmviz.claims.jailbreak import facts as jailbreak_facts
from harmviz.claims.jailbreak import finding as jailbreak
from harmviz.runs import Run
from harmviz.ui import chart, experiments, frame, stored, theme

REQUEST = "jail_request"
PANELS = {"harm": "Harmful requests: {}", "benign": "Benign requests: {}"}


def attack_grid(grid: jailbreak.Grid, names: dict[str, str], metric: str, view: str) -> None:
    """Every attack under every mask, refusals of benign requests beside it."""
    table, words = jailbreak.cells(grid, names, metric, view), jailbreak.grid_words(grid, metric, view)
    shown = {p: str(table[table["panel"] == p]["metric"].iloc[0]) for p in PANELS if (table["panel"] == p).any()}
    panels = {p: PANELS[p].format(jailbreak.metric_name(m)) for p, m in shown.items()}
    figure = figures.attack_grid(table, theme.current(), title=words.title, subtitle=words.subtitle, panels=panels)
    chart.draw(
        figure,
        key="jailbreak-grid",
        table=table.drop(columns=["note", "colours", "limit", "last"]),
        how_to_read=words.reading,
        alt=words.alt,
    )


def pooled(grid: jailbreak.Grid, run: Run, metric: str) -> None:
    """All attacks in one line a mask."""
    table, words = jailbreak.dots(grid, run, metric), jailbreak.dots_words(grid, run, metric)
    if not table.empty:
        figure = figures.pooled_rates(table, theme.current(), title=words.title, subtitle=words.subtitle)
        chart.draw(figure, key="jailbreak-pooled", table=table, how_to_read=words.reading, alt=words.alt)


@st.fragment
def side_by_side(run: Run, names: dict[str, str], masks: list[str]) -> None:
    """Stored answers to one mild request under one attack; a fragment, so that choosing redraws nothing else."""
    frame.section(
        "Answers side by side",
        "To mild requests that ship with harmviz. A few answers are an illustration, no measurement.",
    )
    with frame.shown_errors():
        kept = answers.transcripts(run)
        if not kept:
            frame.html(
                '<div class="hv hv-note">No answers were kept: only those to the mild requests that ship with harmviz are.</div>'
            )
            return
        attacks, asked = [a for a in names if any(k.attack == a for k in kept)], answers.requests(kept)
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
            "Request", range(len(asked)), format_func=lambda i: asked[i], key=REQUEST, index=_asked_for(len(asked))
        )
        # By its number: text of a request does not belong into a URL.
        if number:
            st.query_params[REQUEST] = str(number)
        else:
            st.query_params.pop(REQUEST, None)
        usual = [m for m in ("intact", "guarded" if "guarded" in masks else "contrastive", "random") if m in masks]
        chosen = st.pills(
            "Masks",
            masks,
            selection_mode="multi",
            default=usual,
            format_func=jailbreak_facts.GROUPS.__getitem__,
            key="jail_masks",
            bind="query-params",
        )
        frame.html(answers.panes(kept, attack, asked[number], [m for m in masks if m in chosen] or usual))
        with st.expander("What the model was given"):
            for name, said in answers.asked(run, attack, asked[number]):
                st.caption(name)
                st.code(said, language=None, wrap_lines=True)


def _asked_for(n: int) -> int:
    """The request that the link names, or the first."""
    given = st.query_params.get(REQUEST, "0")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 4 and int(given) < n else 0


frame.title(
    "Do jailbreaks still get through?",
    "The same harmful requests in the wrappers of a dozen known jailbreaks, put to the intact model, to the pruned one and to controls. Benign requests in the same wrappers show what it costs.",
)
run = experiments.chosen_or_stop(
    "jailbreak",
    command="python -m harmviz experiment jailbreak RUN",
    what="This page shows how often each jailbreak is refused by the intact model, under each mask of a run, and under controls of equal size.",
)
with frame.shown_errors():
    rows = jailbreak.grid_rows(stored.results(run))
    names, known, grid = jailbreak_facts.attack_names(run), jailbreak.metrics(rows), jailbreak.Grid(rows)
    frame.html(jailbreak_facts.set_up(run))
    if known:
        left, right = st.columns([1, 1.4], gap="medium", vertical_alignment="bottom")
        metric = left.selectbox(
            "Measure", list(known), format_func=known.__getitem__, key="jail_metric", bind="query-params"
        )
        view = right.segmented_control(
            "Show",
            list(jailbreak.VIEWS),
            default="rates",
            required=True,
            format_func=jailbreak.VIEWS.__getitem__,
            key="jail_view",
            bind="query-params",
        )
        attack_grid(grid, names, metric, view or "rates")
        frame.section("The paper's claim, and what was found here")
        frame.html(jailbreak.claim_box(grid, run))
        pooled(grid, run, metric)
    side_by_side(run, names, grid.groups)
    frame.section("What the judges are worth", "Every rate above rests on one of them.")
    frame.html(jailbreak_facts.judge_notes(run))
    frame.section(
        "The attacks",
        "Wrappers written for this grid after published attacks. They hold no harmful detail of their own.",
    )
    frame.html(jailbreak_facts.attack_list(run))
