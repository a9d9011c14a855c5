"""Dissociation: does the model still recognise, explain and refuse without its harm weights? Reads a stored result
only.
"""

from __future__ import annotations

from html import escape

import streamlit as st

from harmviz.claims.dissociation import details, figures, picture
from harmviz.claims.dissociation.finding import reverse
from harmviz.claims.dissociation.stored import HARM, MATCHED, STRENGTHS, Stored
from harmviz.claims.dissociation.table import claims
from harmviz.display.effects import effect_dots
from harmviz.display.words import Words
from harmviz.runs import Run
from harmviz.runs.point import selector_words
from harmviz.ui import chart, experiments, frame, stored, theme

VIEW, VIEWS = "dissociation_view", ("Recognition", "Loss shifts", "Refusal")


def main_picture(run: Run, results: Stored, contrast: str, mask: str) -> None:
    """The two masks beside each other."""
    table, words = picture.points(results, contrast, mask), picture.words(run, results, contrast, mask)
    figure = figures.double_dissociation(
        table,
        theme.current(),
        title=words.title,
        subtitle=words.subtitle,
        panels=picture.panels(run, results, contrast, mask),
        x_range=picture.x_range(results),
    )
    chart.draw(
        figure, key="dissociation-picture", table=table.drop(columns="note"), how_to_read=words.reading, alt=words.alt
    )
    frame.html(f'<div class="hv hv-note">{escape(reverse(results, contrast))}</div>')


def claim_table(results: Stored, contrast: str, mask: str) -> None:
    """The paper's claim beside what was found."""
    frame.section(
        "The claim, and what was found",
        "Also where it is no difference. Each change is against the intact model, and beyond masks of the same size. "
        "ΔL in nats per token, log-odds in nats.",
    )
    frame.html(claims(results, contrast, mask))


def level_chart(
    results: Stored,
    contrast: str,
    mask: str,
    words: Words,
    rows: dict[str, tuple[str, str, str]],
    key: str,
    *,
    unit: str,
    x_range: tuple[float, float] | None,
    reference: float | None = None,
) -> None:
    """Levels before and after."""
    table = details.level_points(results, contrast, mask, rows)
    figure = figures.levels(
        table,
        theme.current(),
        title=words.title,
        subtitle=words.subtitle,
        unit=unit,
        x_range=x_range,
        reference=reference,
    )
    chart.draw(figure, key=key, table=table.drop(columns="note"), how_to_read=words.reading, alt=words.alt)


def in_detail(run: Run, results: Stored, contrast: str, mask: str) -> None:
    """Each ability in its own unit."""
    frame.section("In detail", "Every ability in its own unit, intact and under each mask.")
    recognition, losses, refusal = st.tabs(VIEWS, key=VIEW, on_change="rerun", bind="query-params")
    if recognition.open:
        with recognition:
            rows = details.recognition_rows(run, results)
            words = details.recognition_words(results, contrast, mask)
            level_chart(
                results,
                contrast,
                mask,
                words,
                rows,
                "dissociation-recognition",
                unit="AUC",
                x_range=(0.0, 1.0),
                reference=0.5,
            )
    if losses.open:
        with losses:
            table, words = (
                details.loss_rows(results, contrast, mask),
                details.loss_words(results, contrast, mask),
            )
            figure = effect_dots(
                table, theme.current(), title=words.title, subtitle=words.subtitle.replace("\n", "<br>")
            )
            chart.draw(figure, key="dissociation-losses", table=table, how_to_read=words.reading, alt=words.alt)
    if refusal.open:
        with refusal:
            rate, odds = details.refusal_words(results, contrast, mask)
            level_chart(
                results,
                contrast,
                mask,
                rate,
                details.RATE,
                "dissociation-rate",
                unit="share of answers",
                x_range=(-0.02, 1.02),
            )
            level_chart(
                results,
                contrast,
                mask,
                odds,
                details.ODDS,
                "dissociation-odds",
                unit="log-odds, nats",
                x_range=None,
            )


def show() -> None:
    """Draws the page."""
    frame.title(
        "Does it still recognise, explain and refuse?",
        "Harmful writing is made less likely. What goes with it? Each ability before and after, beside random and "
        "benign-signed masks of the same size, and the reverse: a mask of refusal.",
    )
    run = experiments.chosen_or_stop(
        "dissociation",
        command="python -m harmviz experiment dissociation RUN",
        what="Two masks beside each other, harm and refusal, and what each takes away: writing, recognition, "
        "explanation, refusal. It takes about an hour on two cores.",
    )
    with frame.shown_errors():
        results = Stored(stored.results(run))
        if not results.contrasts:
            frame.html(
                '<div class="hv hv-empty"><h3>This result holds no such rows</h3><div class="quiet">Delete it under '
                "Runs and make it again.</div></div>"
            )
            st.stop()
        left, right = st.columns(2, gap="medium")
        contrast = left.segmented_control(
            "Harm mask",
            results.contrasts,
            default=results.contrasts[-1],
            required=True,
            format_func=lambda c: selector_words(c).short,
            key="dissociation_contrast",
            bind="query-params",
            help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe "
            "or harmless text.",
        )
        contrast = contrast or results.contrasts[-1]  # an empty value in a link clears even a required control
        strengths = ["chosen", *(["matched"] if results.matched(contrast) is not None else [])]
        strength = right.segmented_control(
            "Strength",
            strengths,
            default="chosen",
            required=True,
            format_func=STRENGTHS.__getitem__,
            key="dissociation_strength",
            bind="query-params",
            help="matched: the stronger of the two masks turned down until both reduce harmful writing alike on "
            "validation prompts.",
        )
        mask = MATCHED if strength == "matched" else HARM
        main_picture(run, results, contrast, mask)
        with frame.details("dissociation") as more:
            if more.open:
                claim_table(results, contrast, mask)
                in_detail(run, results, contrast, mask)
