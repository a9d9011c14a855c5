"""Compression: does alignment concentrate what harm hangs on? Reads a stored experiment only."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from harmviz import preflight
from harmviz.claims.compression import figures, stable_figures
from harmviz.claims.compression.finding import finding
from harmviz.claims.compression.fixed_difference import FixedResult
from harmviz.claims.compression.presets import PRESETS
from harmviz.claims.compression.stored import StoredResult, read_result, selections
from harmviz.claims.compression.views import tables
from harmviz.claims.compression.views.curves import SHIFTS, curve_words, curves, levels
from harmviz.claims.compression.views.fixed import fixed_rows, fixed_words, limit_rows, limit_words, tiles
from harmviz.claims.compression.views.ladder import METRICS, ladder, ladder_words
from harmviz.claims.compression.views.notes import notes_list, paper
from harmviz.claims.compression.views.overlap import overlap, overlap_words
from harmviz.models.assets import EMBEDDED
from harmviz.runs import Run
from harmviz.runs.point import selector_words
from harmviz.tuning.stored import ladders
from harmviz.ui import chart, experiments, frame, stored, theme
from harmviz.ui.experiment_form import Setting
from harmviz.ui.model_bar import shown_name


def show() -> None:
    """The page."""
    frame.title(
        "Does alignment concentrate it?",
        "The same measurement along checkpoints of one model: can harm be pruned away further from what is harmless "
        "once the model has been aligned?",
    )
    with frame.shown_errors():
        run = experiments.chosen_or_stop(
            "compression",
            command="python -m harmviz experiment compression --ladder LADDER",
            what="How separable harm is at each checkpoint of a model, from its start through safety tuning, beside "
            "tunings that taught no safety.",
        )
        results = stored.results(run)
        known = selections(results)
        if not known:
            again = "compute it again with python -m harmviz experiment compression"
            frame.error(f"{run.id} holds no separabilities; {again}")
            st.stop()
        # Of every selection, whichever is shown below: no choice of selection hides a result.
        frame.section(finding(run, results).sentence)
        _result(run, read_result(run, results, _choice(known)))


def _choice(known: list[str]) -> str:
    """Which selection is shown; the one that decides where nothing is chosen."""
    contrast = st.segmented_control(
        "Selection",
        known,
        default=known[0],
        required=True,
        format_func=lambda contrast: selector_words(contrast).short,
        key="compression_contrast",
        bind="query-params",
        help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe or "
        "harmless text.",
    )
    return contrast or known[0]  # an empty value in a link clears even a required control


def _result(run: Run, result: StoredResult) -> None:
    """Everything about one selection."""
    fixed = FixedResult(result)
    _fixed(fixed)
    frame.html(tiles(fixed))
    with frame.details("compression") as details:
        if details.open:
            _details(run, result, fixed)


def _details(run: Run, result: StoredResult, fixed: FixedResult) -> None:
    """Whether it is a difference, how aligned each checkpoint is, other fractions and the older index."""
    frame.section(
        "Is it a difference?",
        "Each checkpoint against the start, and safety tuning against tunings of equal length that taught no safety, "
        "at fractions fixed beforehand.",
    )
    if fixed.fractions:
        frame.html(tables.fixed_table(fixed))
    frame.html(notes_list(run, fixed))
    frame.section("How aligned is each checkpoint?", tables.behaviour_note(result))
    frame.html(tables.behaviour_table(result))
    frame.section("Over the fraction pruned", "What each checkpoint loses at every measured fraction.")
    _curves(result)
    frame.html(tables.losses_table(result))
    frame.section(
        "The index under a benign limit",
        "Secondary. It takes the fraction of largest harm-specific ΔL that keeps benign ΔL within a limit, and jumps "
        "where benign ΔL is near that limit.",
    )
    _under_limit(result)
    frame.section(
        "One mechanism along the way",
        "What the masks of single harm types share at each checkpoint, beside ceiling and chance.",
    )
    _overlap(result)
    frame.section("The paper's claim")
    frame.html(paper())


def _fixed(fixed: FixedResult) -> None:
    """The main chart."""
    rows, seeds = fixed_rows(fixed)
    words = fixed_words(fixed)
    if rows.empty:
        frame.error(f"{words.title}; compute it again with fractions that hold these")
        return
    figure = stable_figures.fixed_chart(rows, seeds, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key="compression-fixed", table=rows, how_to_read=words.reading, alt=words.alt)


@st.fragment
def _under_limit(result: StoredResult) -> None:
    """The index that chooses q, as chosen or cross-fitted, and over its limit; a fragment, as its control is here."""
    metric = st.segmented_control(
        "Fraction pruned",
        list(METRICS),
        default="separability",
        required=True,
        format_func=METRICS.__getitem__,
        key="compression_metric",
        bind="query-params",
        help="as chosen: the best measured fraction. cross-fitted: chosen on half of the prompts, measured on the "
        "other half, both ways.",
    )
    metric = metric or "separability"
    rows, seeds = ladder(result, metric)
    words = ladder_words(result, metric)
    figure = figures.ladder_chart(
        rows, seeds, theme.current(), title=words.title, subtitle=words.subtitle, y_title="separability, nats per token"
    )
    by_split: pd.DataFrame = seeds.pivot(index="checkpoint", columns="seed", values="value").add_prefix("split ")
    table = rows.merge(by_split, left_on="checkpoint", right_index=True)
    chart.draw(figure, key="compression-ladder", table=table, how_to_read=words.reading, alt=words.alt)
    frame.html(tables.differences_table(result, metric))
    rows, seeds = limit_rows(result)
    if rows.empty:
        return
    words = limit_words(result, rows)
    figure = stable_figures.limit_curve(
        rows, seeds, theme.current(), title=words.title, subtitle=words.subtitle, used=result.limit
    )
    chart.draw(figure, key="compression-limits", table=rows, how_to_read=words.reading, alt=words.alt)


@st.fragment
def _curves(result: StoredResult) -> None:
    """Loss shifts over q; a fragment, so that its control redraws nothing else."""
    shift = st.segmented_control(
        "Shift of",
        list(SHIFTS),
        default="specific",
        required=True,
        format_func=SHIFTS.__getitem__,
        key="compression_shift",
        bind="query-params",
        help="harm-specific: harmful answers minus safe answers on the same topics.",
    )
    shift = shift or "specific"
    table, words = curves(result, shift), curve_words(result, shift)
    figure = figures.shift_curves(
        table,
        theme.current(),
        title=words.title,
        subtitle=words.subtitle,
        y_title="ΔL, nats per token",
        levels=levels(result, shift),
    )
    chart.draw(figure, key="compression-curves", table=table, how_to_read=words.reading, alt=words.alt)


def _overlap(result: StoredResult) -> None:
    """What the harm types share along training."""
    table, words = overlap(result), overlap_words(result)
    figure = figures.overlap_ladder(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key="compression-overlap", table=table, how_to_read=words.reading, alt=words.alt)


# -- on the Runs page -------------------------------------------------------------------------------------------------
def settings() -> Setting | None:
    """The form that starts one: which checkpoints; None until there are enough of them."""
    ladder_ids = list(ladders(with_weights=True))
    sources = {"models": "Models here", "ladders": "Ladders", "published": "Published series"}
    source = st.segmented_control(
        "Checkpoints",
        [name for name in sources if name != "ladders" or ladder_ids],
        format_func=sources.__getitem__,
        default="models",
        required=True,
        key="runs_series",
    )
    if source == "published":
        return _published()
    if source == "ladders":
        chosen = st.multiselect("Ladders, one per tuning seed", ladder_ids, default=ladder_ids[:6], key="runs_ladders")
        return Setting(("--ladder", *chosen), EMBEDDED) if chosen else None
    names = [EMBEDDED, *preflight.tuned_models()]
    chosen = st.multiselect(
        "First to last in training",
        names,
        default=names[:2],
        format_func=shown_name,
        key="runs_checkpoints",
        help="All are compared with the first.",
    )
    return Setting(tuple(chosen), EMBEDDED) if len(chosen) > 1 else None


def _published() -> Setting:
    name = st.selectbox(
        "Series",
        list(PRESETS),
        key="runs_preset",
        help="Fetched from huggingface.co: billions of parameters a checkpoint.",
    )
    return Setting((f"--preset={name}",), PRESETS[name][0].model)
