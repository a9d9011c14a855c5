"""Harm map: where do the weights sit? Answers from the stored candidates and maps alone."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from harmviz import runs as store
from harmviz.claims.mapping.figures.harm_map import Panel, layer_maps
from harmviz.claims.mapping.figures.matrix import matrix_map
from harmviz.claims.mapping.headline import UNCHOSEN, chosen_point
from harmviz.claims.mapping.pictures import chosen_maps
from harmviz.claims.mapping.views import harm_map, matrix
from harmviz.display.picture import Picture
from harmviz.display.words import Words
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import Contrast
from harmviz.masks.selection import Selection, select
from harmviz.runs import Run
from harmviz.ui import chart, frame, mask_settings, picker, stored, theme

VIEWS = {"mask": "this mask", "types": "every type on one scale", "pair": "two compared"}
POOLINGS: dict[matrix.Pooling, str] = {"peak": "largest", "mean": "mean"}
MASK, DENSEST, CHART = "this mask", "the densest", "harm-map"
#: So many layers make a map too tall for three beside each other.
_MANY_LAYERS = 40


class Drawing(NamedTuple):
    """The maps to draw, their words, and why q was held back."""

    panels: list[Panel]
    words: Words
    held: str | None


def show() -> None:
    """The page."""
    run = picker.current_or_stop()
    frame.title(
        "Where do these weights sit?",
        "Density: how many of a module's weights are in the mask, per million of its own.",
    )
    with frame.shown_errors():
        if not run.has_candidates and (chosen := list(chosen_maps(run, theme.current()))):
            show_chosen(run, chosen)
            return
        candidates = stored.candidates(run)
        default = default_selection(run, candidates)
        asked = mask_settings.controls(candidates, key="map", default=default)
        view, pair = view_controls(candidates)
        grid = harm_map.grid(candidates.table)
        selection, held = mask_settings.settled(candidates, asked)
        drawing = drawn(run, candidates, grid, selection, held, view, pair)
        mask_settings.held_note(drawing.held)
        above, below = st.container(), st.container()
        counts = counted(run, selection)
        with below:
            index, pooling = chosen_matrix(grid, candidates, counts)
        with above:
            opened = candidates.table[index]
            columns = 1 if view != "types" else 2 if grid.cells["layer"].nunique() > _MANY_LAYERS else 3
            words = drawing.words
            figure = layer_maps(
                drawing.panels,
                theme.current(),
                title=words.title,
                subtitle=words.subtitle,
                columns=columns,
                opened=(opened.layer, opened.module_kind),
            )
            table = pd.concat([p.cells.assign(map=p.name) for p in drawing.panels], ignore_index=True)
            reading = f"{words.reading} Click a cell to look into that matrix."
            chart.draw(figure, key=CHART, table=table, how_to_read=reading, alt=words.alt, selectable=True)
        with below:
            show_matrix(run, candidates, selection, index, pooling)
        frame.refresh_link()


def show_chosen(run: Run, chosen: list[Picture]) -> None:
    """The masks that the run chose itself: all there is where further ones cannot be selected."""
    mask_settings.candidates_or_note(run, "Only the masks that the run chose")
    for picture in chosen:
        chart.show(picture)
    frame.refresh_link()


def default_selection(run: Run, candidates: Candidates) -> Selection:
    """What the page opens with: contrastive where the run has it, at the (q, p) that was chosen for it."""
    contrast: Contrast = "both" if candidates.has_contrast else "none"
    point = chosen_point(run, contrast) or UNCHOSEN
    return Selection(candidates.categories, q=point.q, p=point.p, contrast=contrast)


def view_controls(candidates: Candidates) -> tuple[str, tuple[str, str]]:
    """Draws what the map shows; (which view, the two sets to compare)."""
    names = [MASK, *candidates.categories, *candidates.listed_baselines]
    with st.container(horizontal=True, gap="small"):
        view = st.segmented_control(
            "Show",
            list(VIEWS),
            default="mask",
            required=True,
            format_func=VIEWS.__getitem__,
            key="map_view",
            bind="query-params",
            label_visibility="collapsed",
        )
        if view != "pair":
            return view or "mask", (MASK, MASK)  # an empty value in a link clears even a required control
        choice: dict[str, Any] = {
            "options": names,
            "format_func": harm_map.set_label,
            "bind": "query-params",
            "label_visibility": "collapsed",
            "width": 196,
        }
        second = names.index("benign") if "benign" in names else min(1, len(names) - 1)
        return view, (
            st.selectbox("First", key="map_first", **choice),
            st.selectbox("Second", index=second, key="map_second", **choice),
        )


@st.cache_data(max_entries=2048, show_spinner=False)
def matrix_counts(folder: str, digest: str, selection: Selection) -> np.ndarray:
    """Selected weights per matrix: small, and asked for again whenever a slider comes back."""
    return harm_map.matrix_counts(stored.candidates(store.read_run(Path(folder))), selection)


def counted(run: Run, selection: Selection) -> np.ndarray:
    """Selected weights in each matrix of the run's model."""
    return matrix_counts(str(run.path), store.result_digest(run), selection)


def drawn(
    run: Run,
    candidates: Candidates,
    grid: harm_map.Grid,
    selection: Selection,
    held: str | None,
    view: str,
    pair: tuple[str, str],
) -> Drawing:
    """What the chosen view shows."""
    scale, known = theme.current().scale, candidates.categories
    if view == "mask":
        cells = harm_map.mapped(grid, counted(run, selection))
        words = harm_map.mask_words(cells, grid, selection, known, run.manifest, scale)
        return Drawing([Panel(harm_map.mask_label(selection, known), cells)], words, held)
    names = (*known, *candidates.listed_baselines) if view == "types" else pair
    wanted = [selection if name == MASK else harm_map.own_mask(selection, name) for name in names]
    # One q for all: densities at different q could not be compared.
    settled = [mask_settings.settled(candidates, s) for s in wanted]
    q = min(s.q for s, _ in settled)
    held = next((why for s, why in settled if why and s.q == q), held)
    wanted = [replace(s, q=q) for s in wanted]
    maps = [harm_map.mapped(grid, counted(run, s)) for s in wanted]
    if view == "types":
        by_type = dict(zip(names, maps, strict=True))
        panels = [Panel(harm_map.set_label(name), cells) for name, cells in by_type.items()]
        words = harm_map.type_words({n: by_type[n] for n in known}, grid, wanted[0], run.manifest, scale)
        return Drawing(panels, words, held)
    labels = [harm_map.pair_label(s, known) for s in wanted]
    panels = [Panel(label, cells) for label, cells in zip(labels, maps, strict=True)]
    panels.append(Panel("Difference: first minus second", harm_map.difference(*maps), signed=True))
    first, second = zip(wanted, maps, strict=True)
    words = harm_map.pair_words((first[0], second[0]), (first[1], second[1]), grid, known, run.manifest, scale)
    return Drawing(panels, words, held)


def chosen_matrix(grid: harm_map.Grid, candidates: Candidates, counts: np.ndarray) -> tuple[int, matrix.Pooling]:
    """Draws the choice of a matrix, which a click on the map sets too; the matrix looked into, and how it is pooled."""
    cells = harm_map.mapped(grid, counts)
    labels = [harm_map.where(cell) for _, cell in cells.iterrows()]
    take_click(labels)
    frame.section("Inside one matrix")
    row = st.container(horizontal=True, gap="small", vertical_alignment="top")
    with row:
        chosen = st.selectbox(
            "Matrix",
            [DENSEST, *labels],
            key="map_cell",
            bind="query-params",
            help="Or click a cell of the map.",
            width=260,
        )
    place = labels.index(harm_map.where(harm_map.densest(cells)) if chosen == DENSEST else chosen)
    members = np.flatnonzero(grid.of_matrix == place)
    fullest = int(members[np.argmax(counts[members])])
    with row:
        if len(members) > 1:
            experts = {candidates.table[int(i)].name: int(i) for i in members}
            expert = st.selectbox(
                "Expert",
                [DENSEST, *experts],
                key="map_expert",
                bind="query-params",
                help="This module holds one matrix an expert.",
                width=420,
            )
            fullest = experts.get(expert, fullest)
        pooling = st.segmented_control(
            "Harm score of each block",
            list(POOLINGS),
            default="peak",
            required=True,
            format_func=POOLINGS.__getitem__,
            key="map_pool",
            bind="query-params",
        )
    return fullest, pooling or "peak"


def take_click(labels: list[str]) -> None:
    """Turns a click on the map into a choice of matrix, once: the chart reports the click until it is redrawn."""
    state = st.session_state.get(f"{CHART}-chart")
    points = state["selection"]["points"] if state else []
    clicked = tuple(points[0]["customdata"][:2]) if points and points[0].get("customdata") else None
    if clicked is not None and clicked != st.session_state.get("_map_click"):
        label = harm_map.where({"layer": clicked[0], "module": unescape(str(clicked[1]))})
        if label in labels:
            st.session_state["map_cell"] = label
    st.session_state["_map_click"] = clicked


def show_matrix(run: Run, candidates: Candidates, selection: Selection, index: int, pooling: matrix.Pooling) -> None:
    """The picture of one matrix and its fullest units."""
    selected = select(candidates, selection).global_index
    view = matrix.view(candidates, stored.maps(run), selection, index, selected, pooling)
    counts, scale = run.manifest["data"]["counts"], theme.current().scale
    words = matrix.matrix_words(view, selection, candidates.categories, counts, scale)
    figure = matrix_map(
        view.tiles,
        view.out_edges,
        view.in_edges,
        view.drawn,
        view.out_side,
        view.in_side,
        theme.current(),
        title=words.title,
        subtitle=words.subtitle,
        signed=view.pooling == "mean",
        sets=matrix.hover_sets(view.sets),
    )
    chart.draw(figure, key="matrix", table=view.points, how_to_read=words.reading, alt=words.alt)
    for column, side in zip(st.columns(2, gap="medium"), matrix.SIDES, strict=True):
        with column:
            frame.html(matrix.units_table(view, side))
