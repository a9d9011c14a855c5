"""Compression: does alignment concentrate what harm hangs on? Reads a stored experiment only."""

from __future__ import annotations

import streamlit as st

from harmviz import preflight
from harmviz.claims.compression import figures
from harmviz.claims.compression import finding as compression
from harmviz.claims.compression import tables as compression_tables
from harmviz.claims.compression.presets import PRESETS
from harmviz.models.assets import EMBEDDED
from harmviz.tuning.stored import ladders
from harmviz.ui import chart, experiments, frame, stored, theme
from harmviz.ui.experiment_form import Setting
from harmviz.ui.model_bar import shown_name

METRICS = {"separability": "as chosen", "separability_crossfit": "cross-fitted"}


def separability(found: compression.Compression, metric: str) -> None:
    """The main chart."""
    rows, seeds = compression.ladder(found, metric)
    words = compression.main_words(found, metric)
    figure = figures.ladder_chart(
        rows, seeds, theme.current(), title=words.title, subtitle=words.subtitle, y_title="separability, nats per token"
    )
    table = rows.merge(
        seeds.pivot(index="checkpoint", columns="seed", values="value").add_prefix("split "),
        left_on="checkpoint",
        right_index=True,
    )
    chart.draw(figure, key="compression-ladder", table=table, how_to_read=words.reading, alt=words.alt)


@st.fragment
def curves(found: compression.Compression) -> None:
    """Loss shifts over q; a fragment, so that its control redraws nothing else."""
    shift = st.segmented_control(
        "Shift of",
        list(compression.SHIFTS),
        default="specific",
        required=True,
        format_func=compression.SHIFTS.__getitem__,
        key="compression_shift",
        bind="query-params",
        help="harm-specific: harmful answers minus safe answers on the same topics.",
    )
    table, words = compression.curves(found, shift), compression.curve_words(found, shift)
    levels = {"specific": (0.1, 0.2), "benign": (found.limit,)}.get(shift, ())
    figure = figures.shift_curves(
        table, theme.current(), title=words.title, subtitle=words.subtitle, y_title="ΔL, nats per token", levels=levels
    )
    chart.draw(figure, key="compression-curves", table=table, how_to_read=words.reading, alt=words.alt)


def overlap(found: compression.Compression) -> None:
    """What the harm types share along training."""
    table, words = compression.overlap(found), compression.overlap_words(found)
    figure = figures.overlap_ladder(table, theme.current(), title=words.title, subtitle=words.subtitle)
    chart.draw(figure, key="compression-overlap", table=table, how_to_read=words.reading, alt=words.alt)


def show() -> None:
    """The page."""
    frame.title(
        "Does alignment concentrate it?",
        "The same measurement along checkpoints of one model: can harm be pruned away further from what is harmless once the model has been aligned?",
    )
    with frame.shown_errors():
        run = experiments.chosen_or_stop(
            "compression",
            command="python -m harmviz experiment compression --ladder LADDER",
            what="How separable harm is at each checkpoint of a model, from its start through safety tuning, beside tunings that taught no safety.",
        )
        results = stored.results(run)
        selections = compression.contrasts(results)
        if not selections:
            frame.error(
                f"{run.id} holds no separabilities; compute it again with python -m harmviz experiment compression"
            )
            st.stop()
        left, right = st.columns(2, gap="medium")
        contrast = left.segmented_control(
            "Selection",
            selections,
            default=selections[0],
            required=True,
            format_func=compression.CONTRASTS.__getitem__,
            key="compression_contrast",
            bind="query-params",
            help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe or harmless text.",
        )
        metric = right.segmented_control(
            "Fraction pruned",
            list(METRICS),
            default="separability",
            required=True,
            format_func=METRICS.__getitem__,
            key="compression_metric",
            bind="query-params",
            help="as chosen: the best measured fraction. cross-fitted: chosen on half of the prompts, measured on the other half, both ways.",
        )
        found = compression.compression(run, results, contrast)
        separability(found, metric)
        frame.html(compression.other_selections(run, results, contrast))
        frame.html(compression.tiles(found))
        frame.section(
            "Is it a difference?",
            "Each checkpoint against the start, and safety tuning against tunings of equal length that taught no safety.",
        )
        frame.html(compression_tables.tests_table(found, metric))
        frame.html(compression.notes_list(run, found))
        frame.section("How aligned is each checkpoint?", compression_tables.behaviour_note(found))
        frame.html(compression_tables.behaviour_table(found))
        frame.section("Over the fraction pruned", "Where each checkpoint's separability comes from.")
        curves(found)
        frame.html(compression_tables.losses_table(found))
        frame.section(
            "One mechanism along the way",
            "What the masks of single harm types share at each checkpoint, beside ceiling and chance.",
        )
        overlap(found)
        frame.section("The paper's claim")
        frame.html(compression.paper())


# -- on the Runs page -------------------------------------------------------------------------------------------------
def settings() -> Setting | None:
    """The form that starts one: which checkpoints; None until there are enough of them."""
    ladder_ids = list(ladders())
    sources = {
        "models": "Models here",
        **({"ladders": "Ladders"} if ladder_ids else {}),
        "published": "Published series",
    }
    source = st.segmented_control(
        "Checkpoints",
        list(sources),
        format_func=sources.__getitem__,
        default="models",
        required=True,
        key="runs_series",
    )
    if source == "published":
        name = st.selectbox(
            "Series",
            list(PRESETS),
            key="runs_preset",
            help="Fetched from huggingface.co: billions of parameters a checkpoint.",
        )
        return Setting((f"--preset={name}",), PRESETS[name][0].model)
    if source == "ladders":
        chosen = st.multiselect("Ladders, one per tuning seed", ladder_ids, default=ladder_ids[:3], key="runs_ladders")
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
