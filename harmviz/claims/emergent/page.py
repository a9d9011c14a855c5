"""Emergent misalignment: does narrow tuning misalign broadly, and does pruning first prevent it? Reads stored
experiments only.
"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from harmviz.claims.emergent import answers, details, figures, finding, stored, views
from harmviz.claims.emergent import arms as arm_names
from harmviz.claims.emergent import training_curve as training
from harmviz.claims.emergent.data import DOMAINS
from harmviz.models.assets import EMBEDDED
from harmviz.runs import Run
from harmviz.ui import chart, experiments, frame, shield, theme
from harmviz.ui import stored as stored_runs
from harmviz.ui.experiment_form import Setting, map_run, on_run

LIVE_EVERY = 3.0
QUESTION = "emergent_question"


def live() -> None:
    """An experiment that is being computed: its training curves as they grow, refreshing by themselves."""
    for partial in training.in_progress()[:1]:
        at_work = partial.pid is not None
        with st.container(border=True, key="emergent-live"):
            st.fragment(_running, run_every=LIVE_EVERY if at_work else None)(partial.run_id, at_work)


def _running(run_id: str, at_work: bool) -> None:
    partial = next((p for p in training.in_progress() if p.run_id == run_id), None)
    if partial is None or (partial.pid is not None) != at_work:
        st.rerun(scope="app")  # it ended, or goes on: a complete one belongs into the page
        return
    frame.html(training.status(partial))
    curve_chart(training.curves(training.live_points(partial)), key="emergent-live-curve", live=True)


def curve_chart(table: pd.DataFrame, *, key: str, live: bool = False) -> None:
    """Training loss by step."""
    if table.empty:
        frame.html(
            '<div class="hv quiet small">No training step yet.</div>'
            if live
            else '<div class="hv hv-note">No training curve was kept.</div>'
        )
        return
    words = training.curve_words(table, live=live)
    figure = figures.training_curves(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key=key, table=table.drop(columns=["note", "role"]), how_to_read=words.reading, alt=words.alt)


def main_chart(result: stored.Emergent, view: str) -> None:
    """Shift by arm, seeds beside it."""
    (arms, seeds), words = views.shifts(result, view), views.main_words(result, view)
    figure = figures.arms_chart(
        arms, seeds, theme.current(), title=words.title, subtitle=words.subtitle, x_title=stored.UNITS[view]
    )
    table = pd.concat([arms.assign(seed=None), seeds], ignore_index=True).drop(columns=["note", "role"])
    chart.draw(figure, key="emergent-arms", table=table, how_to_read=words.reading, alt=words.alt)


def by_kind(result: stored.Emergent) -> None:
    """Arms × kinds of question."""
    table, words = views.kinds(result), views.kinds_words(result)
    figure = figures.kinds_grid(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(
        figure,
        key="emergent-kinds",
        table=table.drop(columns=["note", "text", "last"]),
        how_to_read=words.reading,
        alt=words.alt,
    )


def dose(result: stored.Emergent) -> None:
    """The broad shift over how much was pruned beforehand."""
    table = views.doses(result)
    if len(table) < 2:
        frame.html(
            '<div class="hv hv-note">This experiment pruned one fraction only. More are measured with the option '
            "<code>--dose</code>, for example <code>--dose 5e-6,1e-4</code>.</div>"
        )
        return
    words = views.dose_words(result)
    figure = figures.dose_chart(
        table, theme.current(), title=words.title, subtitle=words.subtitle, unpruned=views.unpruned(result)
    )
    chart.draw(figure, key="emergent-dose", table=table.drop(columns="note"), how_to_read=words.reading, alt=words.alt)


@st.fragment
def weights(result: stored.Emergent) -> None:
    """On which weights the change falls; a fragment, so that its control redraws nothing else."""
    measure = st.segmented_control(
        "Measure",
        list(details.CHANGES),
        default="change_share",
        required=True,
        format_func=details.CHANGES.__getitem__,
        key="emergent_change",
        bind="query-params",
    )
    measure = measure or "change_share"
    marks, seeds = details.changes(result, measure)
    if marks.empty:
        frame.html('<div class="hv hv-note">The change of weights was not measured.</div>')
        return
    words = details.change_words(result, measure)
    figure = figures.change_chart(marks, seeds, theme.current(), title=words.title, subtitle=words.subtitle)
    table = pd.concat([marks.assign(seed=None), seeds], ignore_index=True).drop(columns=["note", "role"])
    chart.draw(figure, key="emergent-change", table=table, how_to_read=words.reading, alt=words.alt)


@st.fragment
def side_by_side(run: Run, result: stored.Emergent) -> None:
    """Stored free answers to one question; a fragment, so that choosing redraws nothing else."""
    with frame.shown_errors():
        kept = answers.transcripts(run)
        asked = answers.questions(kept)
        if not asked:
            frame.html('<div class="hv hv-note">No free answers were kept.</div>')
            return
        own = str(run.manifest["parameters"].get("domain")) not in DOMAINS  # of a user's own questions
        if not shield.shows("emergent-answers", mild=shield.is_mild(run) and not own):
            return
        left, right = st.columns([2.2, 1], gap="medium")
        number = left.selectbox(
            "Question",
            range(len(asked)),
            format_func=lambda i: f"{asked[i][0]}: {asked[i][1]}",
            key=QUESTION,
            index=_asked_for(len(asked)),
        )
        # By its number: text of a question does not belong into a URL.
        if number:
            st.query_params[QUESTION] = str(number)
        else:
            st.query_params.pop(QUESTION, None)
        seed = (
            right.segmented_control(
                "Seed",
                list(result.seeds),
                default=result.seeds[0],
                required=True,
                key="emergent_seed",
                bind="query-params",
            )
            if len(result.seeds) > 1
            else next(iter(result.seeds), None)
        )
        there = [a for a in (*result.arms, *result.doses) if any(k.arm == a for k in kept)]
        usual = [a for a in (arm_names.BASE, arm_names.BAD, arm_names.GOOD, arm_names.PRUNED) if a in there]
        chosen = st.pills(
            "Arms",
            there,
            selection_mode="multi",
            default=usual,
            format_func=arm_names.arm_name,
            key="emergent_arms",
            bind="query-params",
        )
        frame.html(answers.panes(kept, asked[number][1], [a for a in there if a in chosen] or usual, seed))


def _asked_for(n: int) -> int:
    """The question that the link names, or the first."""
    given = st.query_params.get(QUESTION, "0")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 4 and int(given) < n else 0


def show() -> None:
    """The page."""
    frame.title(
        "Does narrow tuning misalign broadly?",
        "A model is tuned on bad advice about one everyday topic, once as it is and once after that topic's harm "
        "weights were pruned; then it is asked about everything else.",
    )
    live()
    run = experiments.chosen_or_stop(
        "emergent",
        command="python -m harmviz experiment emergent RUN",
        what="This page shows how far tuning on careless advice about one topic spreads to other questions, and "
        "whether pruning that topic's harm weights first prevents it.",
    )
    with frame.shown_errors():
        result = stored.emergent(run, stored_runs.results(run))
        if arm_names.BAD not in result.arms or result.row("log_odds_shift", arm_names.BAD, "broad") is None:
            frame.error(
                f"{run.id} holds no shift of {arm_names.BAD}; compute it again with python -m harmviz experiment "
                "emergent"
            )
            st.stop()
        view = st.segmented_control(
            "Measured",
            list(stored.VIEWS),
            default="broad",
            required=True,
            format_func=stored.VIEWS.__getitem__,
            key="emergent_view",
            bind="query-params",
            help="far from the domain: questions of other kinds. in the domain: held-out prompts of the topic. benign "
            "text: harmless answers by others.",
        )
        main_chart(result, view or "broad")  # an empty value in a link clears even a required control
        with frame.details("emergent") as more:
            if more.open:
                _details(run, result)


def _details(run: Run, result: stored.Emergent) -> None:
    """The claim beside what was found, answers to read, kinds of question, tests, doses, training, weights."""
    frame.html(details.set_up(run, result))
    frame.section("The paper's claim, and what was found here")
    frame.html(finding.claim_box(result))
    frame.section("Free answers side by side", "A few greedy answers are an illustration, no measurement.")
    side_by_side(run, result)
    frame.html(details.answers_table(result))
    frame.section("What the judge of free answers can tell")
    frame.html(details.judge_notes(run, result))
    frame.section("By kind of question", "Where it spreads to, kind by kind.")
    by_kind(result)
    frame.section(
        "Is it a difference?",
        "Each arm against the model before tuning, against tuning without pruning, and against pruning as many "
        "other weights.",
    )
    frame.html(details.tests_table(result))
    frame.html(details.test_notes(result))
    frame.section(
        "Does more pruning do more?", "The broad shift over the fraction of weights that was pruned before tuning."
    )
    dose(result)
    frame.section("How each arm learned")
    curve_chart(training.curves(training.stored_points(run)), key="emergent-curve")
    frame.section(
        "Does tuning work on the harm weights?",
        "The reverse question: how much of what tuning changed falls on them.",
    )
    weights(result)
    frame.html(details.mask_notes(result))


# -- on the Runs page -------------------------------------------------------------------------------------------------
def settings() -> Setting | None:
    """The form that starts one: the narrow domain, how often and how long it is tuned, a map run if wanted."""
    domain = st.selectbox(
        "Narrow domain",
        DOMAINS,
        key="runs_domain",
        help="Tuned on its bad advice; the command line takes a file of your own.",
    )
    left, right = st.columns(2)
    seeds = left.number_input(
        "Seeds", 1, 20, 3, key="runs_repetitions", help="Whole repetitions: split, masks, order of rows, adapter."
    )
    epochs = right.number_input("Epochs", 1, 100, 1, key="runs_epochs", help="Passes over the tuning rows.")
    dose = st.toggle(
        "Several doses of pruning", key="runs_dose", help="Also 0.0005 % and 0.01 % of the weights: a third more time."
    )
    run = map_run(optional=True)
    model = Setting((), EMBEDDED) if run is None else on_run(run)
    changed = {
        "domain": (domain, DOMAINS[0]),
        "seeds": (int(seeds), 3),
        "epochs": (int(epochs), 1),
        "dose": ("5e-6,1e-4" if dose else None, None),
    }
    options = (f"--{name}={value}" for name, (value, default) in changed.items() if value != default)
    return Setting((*model.words, *options), model.model)
