"""The tables of the documentation that a stored map run makes."""

from __future__ import annotations

import pandas as pd

from harmviz.claims.mapping.equal_effect import equal_effects
from harmviz.claims.mapping.headline import CHOSEN, Headline, chosen_headline
from harmviz.claims.mapping.mirrored import NO_MIRROR, mirrors_of, reach_words
from harmviz.claims.mapping.sham_overlap import overlap_sentence
from harmviz.claims.mapping.views import equal_effect, transfer
from harmviz.claims.mapping.views.intersections import core_note
from harmviz.claims.mapping.views.overlap import overlap_at, points
from harmviz.claims.markdown import number, one, share, table
from harmviz.runs import Run
from harmviz.runs.point import MEAN_OF_ALL, SELECTOR_WORDS

_SETS = (("harm", "harm"), ("safe", "same-topic safe"), ("benign", "benign, by others"), ("benign_own", "own answers"))
_CONTROLS = (
    "random",
    "magnitude",
    "utility",
    "benign_signed",
    "safe_signed",
    "unprotected",
    "mirror_safe",
    "mirror_benign",
)


def _points(run: Run) -> list[tuple[str, float, float, str]]:
    """(contrast, q, p, words) of the chosen and the unchosen point of each selection."""
    headline, fixed = run.manifest["method"]["headline"], tuple(run.manifest["parameters"]["fixed_point"])
    points = []
    for contrast in headline:
        chosen = (float(headline[contrast]["q"]), float(headline[contrast]["p"]))
        points.append((contrast, *chosen, "chosen"))
        if chosen != fixed:
            points.append((contrast, *fixed, "unchosen"))
    return points


def _effects(run: Run, contrast: str, q: float, p: float) -> pd.DataFrame:
    """The report-prompt rows of one point, the mask's own and its controls'."""
    frame = run.results()
    here = frame[(frame["experiment"] == "effect") & frame["condition"].isna() & (frame["mask"] == MEAN_OF_ALL)]
    here = here[here["skip_tokens"] == run.manifest["parameters"]["skip_tokens"]]
    return here[(here["contrast"] == contrast) & (here["q"] == q) & (here["p"] == p)]


def effects(run: Run) -> str:
    """ΔL by selection and point, and the harm-specific part."""
    lines = []
    counts: dict[str, int] = {}
    for contrast, q, p, words in _points(run):
        own = _effects(run, contrast, q, p)
        own = own[own["control"] == "none"]
        cells = [one(own, metric="delta_nll", category=name) for name, _ in _SETS]
        specific = one(own, metric="harm_specific", category="harm")
        counts |= {name: int(c["n"]) for (name, _), c in zip(_SETS, cells, strict=True) if c is not None}
        size = "" if own.empty else f"{int(own['n_weights'].iloc[0]):,}"
        label = f"{SELECTOR_WORDS[contrast].long}, {words}: q {q:g}, p {p:g}"
        lines.append([label, size, *(number(c, 3) for c in cells), number(specific, 3)])
    sets = [words + (f", n = {counts[name]}" if name in counts else "") for name, words in _SETS]
    heading = "ΔL, nats per response token, on report prompts, pruned minus intact [95 % over prompts]."
    return f"{heading}\n\n{table(('selection', 'weights', *sets, 'harm − safe'), lines)}"


def controls(run: Run) -> str:
    """ΔL of the controls at the chosen points, and what the mask does beyond them."""
    lines = []
    for contrast, q, p, words in _points(run):
        if words != "chosen":
            continue
        here = _effects(run, contrast, q, p)
        for control in _CONTROLS:
            rows = here[here["control"] == control]
            cells = [number(one(rows, metric="delta_nll", category=name), 3) for name in ("harm", "safe", "benign")]
            excess = number(one(rows, metric="excess_over_control", category="harm"), 3)
            if any(cells):
                lines.append([SELECTOR_WORDS[contrast].short, control.replace("_", "-"), *cells, excess])
    header = ("selection", "control", "harm", "safe", "benign", "mask minus control, harm")
    return f"ΔL of controls of equal size at the chosen points.\n\n{table(header, lines)}"


def authors(run: Run) -> str:
    """Harm minus safe at the chosen points by source, and over answers matched in source, length and intact loss."""
    lines = []
    for contrast, q, p, words in _points(run):
        here = _effects(run, contrast, q, p)
        here = here[(here["control"] == "none") & (words == "chosen")]
        kinds = {
            "harm_specific_source": "{category}",
            "harm_specific_matched": "matched pairs",
            "harm_specific_twin": "author-matched twins",
        }
        for metric, label in kinds.items():
            for row in here[here["metric"] == metric].to_dict("records"):
                what = label.format(category=row["category"])
                lines.append([SELECTOR_WORDS[contrast].short, what, number(row, 3, n=True)])
    if not lines:
        return "Not measured in this run."
    heading = "Harm minus same-topic safe, nats per token [95 %], where both are of one source."
    return f"{heading}\n\n{table(('selection', 'answers', 'harm − safe'), lines)}"


def overlap(run: Run) -> str:
    """Mean Jaccard of harm sets with each other and with harmless ones, with half-sample ceiling and chance."""
    frame = run.results()
    rows = frame[frame["experiment"] == "overlap"]
    q = rows["q"].max()
    rows = rows[rows["q"] == q]
    categories = [
        c for c in run.manifest["data"]["counts"] if c not in ("benign", "benign_own", "safe") and ":" not in c
    ]
    lines = []
    for contrast in ("none", "both"):
        here = rows[rows["contrast"] == contrast]
        pairs = here[here["mask"].isin(categories)]

        def mean(metric: str, others: list[str], pairs: pd.DataFrame = pairs) -> str:
            values = pairs[(pairs["metric"] == metric) & pairs["category"].isin(others)]["value"]
            return f"{values.mean():.4f}" if len(values) else ""

        ceiling = here[here["metric"] == "jaccard_ceiling"]
        ceiling = ceiling[ceiling["category"].isin(categories)]["value"].mean()
        lines.append(
            [
                SELECTOR_WORDS[contrast].short,
                mean("jaccard", categories),
                mean("jaccard_half", categories),
                f"{ceiling:.4f}",
                mean("jaccard", ["safe"]),
                mean("jaccard", ["benign"]),
                mean("jaccard_chance", categories),
            ]
        )
    header = (
        "selection",
        "harm with harm",
        "on half the answers",
        "ceiling: halves of one type",
        "with safe",
        "with benign",
        "chance",
    )
    return f"Mean Jaccard of the types' own masks, q {q:g}.\n\n{table(header, lines)}"


def standing(run: Run) -> str:
    """Whether harm stands out from its mirrors and from sham types, selection by selection."""
    results = run.results()
    lines = []
    for contrast, mask in _masks(run, results):
        how, mirrors = SELECTOR_WORDS[contrast].heading, mirrors_of(results, mask)
        told = " ".join(mirror.sentence() for mirror in mirrors) or NO_MIRROR
        lines.append(f"- **{how}, the selection turned round.** {told}")
        means = transfer.summary(rows) if len(rows := transfer.shifts(results, contrast)) else None
        if means is not None and means.n_others and mirrors:
            lines.append(f"- **{how}, transfer.** {transfer.sentence(means)}; {reach_words(mirrors)}.")
    for contrast, fractions in points(results).items():
        shared = overlap_at(results, contrast, fractions[-1])
        if contrast != "none" or len(shared.categories) < 2:
            continue
        half, relative = shared.half_mean("harm"), shared.relative_mean("harm")
        lines.append(f"- **Sham types, overlap.** {overlap_sentence(half, relative, shared.shams)}")
        if shared.shams and len(shared.core):
            lines.append(f"- **Sham types, core.** {core_note(shared)}")
    return "\n".join(lines) or "Not measured in this run."


def _masks(run: Run, results: pd.DataFrame) -> list[tuple[str, Headline]]:
    """(selection, mask) of the chosen points."""
    masks = ((contrast, chosen_headline(run, results, contrast)) for contrast in CHOSEN)
    return [(contrast, mask) for contrast, mask in masks if mask is not None]


def behaviour(run: Run) -> str:
    """Keyword refusals and repetition of free answers."""
    frame = run.results()
    here = frame[(frame["experiment"] == "effect") & frame["metric"].isin(["refusal_rate", "repetition"])]
    lines = []
    for r in here.to_dict("records"):
        state = "intact" if r["mask"] is None or pd.isna(r["mask"]) else SELECTOR_WORDS[str(r["contrast"])].state
        if r["control"] != "none":
            state = f"{r['control']}, sized as {state}"
        said = share(r, n=True) if r["metric"] == "refusal_rate" else number(r, 3, sign=False, n=True)
        lines.append([str(r["metric"]).replace("_", " "), str(r["category"]), state, said])
    return table(("measure", "requests", "model", "value"), lines)


def causal(run: Run) -> str:
    """What the scores predict, and what scaling the mask's weights does."""
    frame = run.results()
    here = frame[frame["experiment"] == "causal"]
    rows = {name: one(here, metric=name) for name in ("measured", "predicted", "relative_error")}
    measured, predicted, error = rows["measured"], rows["predicted"], rows["relative_error"]
    if measured is None or predicted is None or error is None:
        return "Not checked in this run."
    return (
        f"Causal check on the scoring samples (n = {int(error['n'])}): measured dL/dε {measured['value']:.4f} against "
        f"ΣH {predicted['value']:.4f} nats per token, relative error {error['value']:.1e}."
    )


def equal(run: Run) -> str:
    """What both selections cost where they move harmful answers alike."""
    lines = equal_effect.lines(equal_effects(run))
    heading = "Nats per response token on validation prompts, where both raise the loss of harmful answers alike."
    return f"{heading}\n\n{table(equal_effect.COLUMNS, lines)}" if lines else equal_effect.NONE


PARTS = {
    "effects": effects,
    "equal": equal,
    "controls": controls,
    "authors": authors,
    "overlap": overlap,
    "standing": standing,
    "behaviour": behaviour,
    "causal": causal,
}
