"""The controls that describe a mask (types, how they combine, q, p, scope, selection), alike on every page.

They answer from the stored candidates alone. Where the stored lists do not settle a mask exactly, q is held at the
largest value that they do settle, and the reader is told why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from itertools import pairwise
from typing import get_args

import streamlit as st

from harmviz.display import text
from harmviz.errors import RunIncompatible, SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import MEAN, Contrast, ListKey, Scope
from harmviz.masks.selection import Combine, Selection, largest_exact_q
from harmviz.runs import Run
from harmviz.ui import frame, stored

_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
CONTRASTS: dict[Contrast, str] = {"both": "contrastive", "none": "as in the paper"}
SCOPES: dict[Scope, str] = {"global": "whole model", "matrix": "each matrix"}
_P_HELP = "The top fraction by utility score, which is never pruned because harmless text needs it most."
COMBINE_HELP = (
    "mean: rank by the average score. union, intersection, difference: of the types' own masks, each made "
    "at this q (difference: first minus the rest)."
)


def q_steps(q_max: float) -> list[float]:
    """The fractions a slider offers: ten a decade over the two decades below ``q_max``, which comes last.

    No two read alike.
    """
    low, decade = q_max / 100, math.floor(math.log10(q_max / 100))
    steps = [float(f"{s}e{e}") for e in range(decade, decade + 4) for s in _STEPS]
    within = [q for q in steps if low * 0.9999 <= q < q_max * 0.9999 and text.percent(q) != text.percent(q_max)]
    return [*within, q_max]


def candidates_or_note(run: Run, otherwise: str) -> Candidates | None:
    """What masks are selected from; None where the run has none that can be read, which is said behind what there is
    instead."""
    try:
        return stored.candidates(run)
    except RunIncompatible as e:
        frame.html(f'<div class="hv hv-note quiet small">{escape(otherwise)}: {escape(str(e))}</div>')
        return None


def p_steps(candidates: Candidates, contrast: Contrast, scope: Scope, sets: Sequence[str]) -> list[float]:
    """The protection levels stored for all these sets, and two between neighbours, each exactly as it reads."""
    levels = candidates.p_grid if scope == "global" else candidates.matrix_p
    stored = [p for p in levels if all(ListKey(s, contrast, p, scope) in candidates.orders for s in sets)]
    between = [float(f"{a + (b - a) * k / 3:.2g}") for a, b in pairwise(stored) if a > 0 for k in (1, 2)]
    return sorted({*stored, *between})


def scopes(candidates: Candidates) -> list[Scope]:
    """The scopes that this run stores lists for."""
    return [s for s in SCOPES if any(key.scope == s for key in candidates.orders)]


def controls(candidates: Candidates, *, key: str, default: Selection) -> Selection:
    """The mask the reader describes; ``default`` is what the controls start from. Draws them where it is called.

    ``key`` begins the name of every control, also in the URL: ``<key>_q``, ``<key>_types``…. Rows of controls wrap
    where the page is narrow or drawn large.
    """
    with st.container(horizontal=True, gap="small", vertical_alignment="top"):
        types = st.pills(
            "Harm types",
            candidates.categories,
            selection_mode="multi",
            default=list(default.categories),
            format_func=text.set_label,
            key=f"{key}_types",
            bind="query-params",
        )
        chosen = [c for c in candidates.categories if c in types] or list(candidates.categories)
        ways = get_args(Combine)
        combine = st.selectbox(
            "Combined by",
            ways,
            index=ways.index(default.combine),
            key=f"{key}_combine",
            bind="query-params",
            disabled=len(chosen) < 2,
            help=COMBINE_HELP,
            width=170,
        )
    steps = q_steps(candidates.q_max)
    with st.container(horizontal=True, gap="small", vertical_alignment="top"):
        # ``or``: an empty value in a link (``?map_scope=``) clears even a required control.
        contrast = (
            st.segmented_control(
                "Selection",
                [c for c in CONTRASTS if c == "none" or candidates.has_contrast],
                default=default.contrast,
                required=True,
                format_func=lambda c: CONTRASTS[c],
                key=f"{key}_contrast",
                bind="query-params",
                help="as in the paper: rank by harm score. contrastive: by harm score minus what the weight does for "
                "safe or harmless text.",
            )
            or default.contrast
        )
        scope = (
            st.segmented_control(
                "Taken from",
                scopes(candidates),
                default=default.scope,
                required=True,
                format_func=lambda s: SCOPES[s],
                key=f"{key}_scope",
                bind="query-params",
                help="whole model: the best of all weights, wherever they lie. each matrix: the best of every matrix.",
            )
            or default.scope
        )
        # The two sliders stay side by side where the row wraps.
        with st.container(horizontal=True, gap="small", width=510):
            q = st.select_slider(
                "Pruned, q",
                steps,
                value=min(steps, key=lambda s: abs(s - default.q)),
                format_func=text.percent,
                key=f"{key}_q",
                bind="query-params",
                help="Fraction of all scored weights that is set to zero.",
                width=290,
            )
            mean_of_all = combine == "mean" and len(chosen) == len(candidates.categories) and len(chosen) > 1
            p = _protection(p_steps(candidates, contrast, scope, [MEAN] if mean_of_all else chosen), default.p, key)
    if combine == "difference":
        chosen = list(types) or chosen  # the order of choosing says which is first
    return Selection(
        tuple(chosen),
        combine=combine if len(chosen) > 1 else "mean",
        q=float(q),
        p=float(p),
        scope=scope,
        contrast=contrast,
    )


def _protection(levels: Sequence[float], start: float, key: str) -> float:
    """The control for p, or what p is where these settings leave no choice (a slider needs two ends)."""
    if len(levels) > 1:
        return st.select_slider(
            "Protected, p",
            levels,
            value=min(levels, key=lambda s: abs(s - start)),
            format_func=text.percent,
            key=f"{key}_p",
            bind="query-params",
            help=_P_HELP,
            width=190,
        )
    # Where no level is stored at all, ``settled`` says so in its own words.
    only = levels[0] if levels else start
    st.text_input(
        "Protected, p",
        text.percent(only),
        disabled=True,
        help=f"{_P_HELP} Only this level is stored for these settings.",
        width=190,
    )
    return only


def settled(candidates: Candidates, selection: Selection) -> tuple[Selection, str | None]:
    """(the selection, with q no larger than the stored lists settle; a sentence where q was held back).

    Raises:
        SelectionInexact: the settings are not stored at any q.
    """
    limit, why = largest_exact_q(candidates, selection)
    if selection.q <= limit:
        return selection, None
    if limit <= 0:
        raise SelectionInexact(
            f"no mask of these types can be told exactly from this run: {why}; choose other types or p"
        )
    return replace(selection, q=limit), f"q is held at {text.percent(limit)}: {why}."


def held_note(why: str | None) -> None:
    """Says that q was held back, where it was."""
    if why:
        frame.html(f'<div class="hv hv-note quiet small">{escape(why)}</div>')
