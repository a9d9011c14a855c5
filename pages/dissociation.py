"""Dissociation: does the model still recognise, explain and refuse without its harm weights? Reads a stored experiment only."""

from html import escape

import streamlit as st

from harmviz.claims.dissociation import details as dissociation_details
from harmviz.claims.dissociation import figures
from harmviz.claims.dissociation import finding as dissociation
from harmviz.display.effects import effect_dots
from harmviz.display.words import Words
from harmviz.runs import Run
from harmviz.ui import chart, experiments, frame, selection, stored, theme

VIEW, VIEWS = "dissociation_view", ("Recognition", "Loss shifts", "Refusal")


def picture(run: Run, found: dissociation.Found, contrast: str, mask: str) -> None:
    """The two masks beside each other, and the paper's claim beside what was found."""
    table, words = dissociation.points(found, contrast, mask), dissociation.words(run, found, contrast, mask)
    figure = figures.double_dissociation(
        table,
        theme.current(),
        title=words.title,
        subtitle=words.subtitle,
        panels=dissociation.panels(run, found, contrast, mask),
        x_range=dissociation.x_range(found),
    )
    chart.draw(
        figure, key="dissociation-picture", table=table.drop(columns="note"), how_to_read=words.reading, alt=words.alt
    )
    frame.section(
        "The claim, and what was found",
        "Also where it is no difference. Each change is against the intact model, and beyond masks of the same size. ΔL in nats per token, log-odds in nats.",
    )
    frame.html(dissociation.claims(found, contrast, mask))
    frame.html(f'<div class="hv hv-note">{escape(dissociation.reverse(found, contrast))}</div>')


def level_chart(
    found: dissociation.Found,
    contrast: str,
    mask: str,
    words: Words,
    rows: dict[str, tuple[str, str, str]],
    key: str,
    **options: object,
) -> None:
    """Levels before and after."""
    table = dissociation_details.level_points(found, contrast, mask, rows)
    figure = figures.levels(table, theme.current(), title=words.title, subtitle=words.subtitle, **options)
    chart.draw(figure, key=key, table=table.drop(columns="note"), how_to_read=words.reading, alt=words.alt)


def details(run: Run, found: dissociation.Found, contrast: str, mask: str) -> None:
    """Each ability in its own unit."""
    frame.section("In detail", "Every ability in its own unit, intact and under each mask.")
    recognition, losses, refusal = st.tabs(VIEWS, key=VIEW, on_change="rerun", bind="query-params")
    if recognition.open:
        with recognition:
            rows = dissociation_details.recognition_rows(run, found)
            words = dissociation_details.recognition_words(found, contrast, mask)
            level_chart(
                found,
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
                dissociation_details.loss_rows(found, contrast, mask),
                dissociation_details.loss_words(found, contrast, mask),
            )
            figure = effect_dots(
                table, theme.current(), title=words.title, subtitle=words.subtitle.replace("\n", "<br>")
            )
            chart.draw(figure, key="dissociation-losses", table=table, how_to_read=words.reading, alt=words.alt)
    if refusal.open:
        with refusal:
            rate, odds = dissociation_details.refusal_words(found, contrast, mask)
            level_chart(
                found,
                contrast,
                mask,
                rate,
                dissociation_details.RATE,
                "dissociation-rate",
                unit="share of answers",
                x_range=(-0.02, 1.02),
            )
            level_chart(
                found,
                contrast,
                mask,
                odds,
                dissociation_details.ODDS,
                "dissociation-odds",
                unit="log-odds, nats",
                x_range=None,
            )


frame.title(
    "Does it still recognise, explain and refuse?",
    "Harmful writing is pruned away. What goes with it? Each ability before and after, beside random and benign-signed masks of the same size, and the reverse: a mask of refusal.",
)
run = experiments.chosen_or_stop(
    "dissociation",
    command="python -m harmviz experiment dissociation RUN",
    what="Two masks beside each other, harm and refusal, and what each takes away: writing, recognition, explanation, refusal. It takes about half an hour on two cores.",
)
with frame.shown_errors():
    found = dissociation.Found(stored.results(run))
    if not found.contrasts:
        frame.html(
            '<div class="hv hv-empty"><h3>This result holds no such rows</h3><div class="quiet">Delete it under Runs and make it again.</div></div>'
        )
        st.stop()
    left, right = st.columns(2, gap="medium")
    contrast = left.segmented_control(
        "Harm mask",
        found.contrasts,
        default=found.contrasts[-1],
        required=True,
        format_func=lambda c: selection.CONTRASTS[c],
        key="dissociation_contrast",
        bind="query-params",
        help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for safe or harmless text.",
    )
    strengths = ["chosen", *(["matched"] if found.matched(contrast) is not None else [])]
    strength = right.segmented_control(
        "Strength",
        strengths,
        default="chosen",
        required=True,
        format_func=dissociation.STRENGTHS.__getitem__,
        key="dissociation_strength",
        bind="query-params",
        help="matched: the stronger of the two masks turned down until both reduce harmful writing alike on validation prompts.",
    )
    mask = dissociation.MATCHED if strength == "matched" else dissociation.HARM
    picture(run, found, contrast, mask)
    details(run, found, contrast, mask)
