"""What a mask does to the model's own text: keyword refusals, repetition, perplexity on plain text, collapse.

Texts stay in memory: only rates leave. The keyword detector is a lower bound of refusals (see
``harmviz.data.refusal_words``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harmviz.claims.mapping.samples import prompt_limit
from harmviz.claims.mapping.work import behaviour_units
from harmviz.data.encoding import Sample, encode_prompt
from harmviz.data.refusal_words import refusal_rate
from harmviz.data.splits import choose_rows, rows_for, split_prompts
from harmviz.generation.batch import generate_batch
from harmviz.generation.repetition import is_collapsed, mean_repetition, repeated_tokens
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.runs import Row
from harmviz.runs.rows import Where
from harmviz.scoring.loss import response_losses
from harmviz.stats.effects import paired_effect
from harmviz.stats.estimate import Estimate

if TYPE_CHECKING:
    from harmviz.claims.mapping.stages import MapWork


def plain_text(loaded: LoadedModel, texts: Sequence[str], max_tokens: int) -> list[Sample]:
    """Texts as samples of their own, without chat template: every token after the first is predicted."""
    samples = []
    for i, text in enumerate(texts):
        ids = tuple(loaded.tokenizer.encode(text, add_special_tokens=False)[:max_tokens])
        if len(ids) > 1:
            samples.append(Sample(f"text{i}", f"text{i}", ids, 1, 1))
    return samples


def behaviour(
    loaded: LoadedModel,
    mask: PruneMask | None,
    prompts: dict[str, list[list[int]]],
    texts: Sequence[Sample],
    answer_tokens: int,
) -> dict[str, Any]:
    """Rates under ``mask`` (None: intact), as JSON: by set of ``prompts`` the keyword refusal rate with its Wilson
    interval and the mean share of repeated 3-grams; the mean loss of plain ``texts`` with its interval."""

    def measure() -> dict[str, Any]:
        record: dict[str, Any] = {}
        for name, ids in prompts.items():
            answers = generate_batch(loaded, ids, answer_tokens)
            rate = refusal_rate([str(loaded.tokenizer.decode(a, skip_special_tokens=True)) for a in answers])
            repeats = mean_repetition([repeated_tokens(a) for a in answers])
            record[name] = {"refusal": _numbers(rate), "repetition": [_known(repeats.share), repeats.n]}
        nll = response_losses(loaded, texts)[:, 0]
        record["text"] = _numbers(paired_effect(nll, [s.prompt_id for s in texts]))
        return record

    if mask is None:
        return measure()
    with pruned(loaded, mask):
        return measure()


def _numbers(estimate: Estimate) -> list[float | None]:
    """``[value, low, high, n]``; a value that was not measured is None: JSON has no NaN."""
    value, low, high, n = estimate[:4]
    return [_known(value), low, high, n]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def behaviour_rows(
    record: dict[str, Any], intact: dict[str, Any], benign_delta: float | None, where: Where
) -> Iterator[Row]:
    """Rows of one mask (or of the intact model, where ``benign_delta`` is None).

    ``record``, ``intact``: what ``behaviour`` gave, each interval as ``[value, low, high, n]``. Where the model wrote
    nothing there is no answer to judge: no value, n = 0.
    """
    for name in (k for k in record if k != "text"):
        value, low, high, n = record[name]["refusal"]
        rate = Estimate(float("nan") if value is None else value, low, high, n, n)
        yield where.estimate("refusal_rate", rate, unit="fraction", category=name)
        share, n = record[name]["repetition"]
        yield where.value("repetition", share if n else None, unit="fraction", category=name, n=n)
    *nll, n = record["text"]
    value, low, high = (None if v is None else float(np.exp(v)) for v in nll)  # exp is monotone: so is the interval
    perplexity = Estimate(float("nan") if value is None else value, low, high, n, n)
    yield where.estimate("perplexity", perplexity, unit="per token", category="benign")
    if benign_delta is not None:
        repeats = [r["benign"]["repetition"][0] for r in (intact, record)]
        reason = is_collapsed(benign_delta, *([] if None in repeats else repeats))
        yield where.value("collapsed", float(reason is not None), unit="label", category="benign")


class Behaviour:
    """What the model writes by itself under a mask: the prompts and texts that every mask is measured on."""

    def __init__(self, run: MapWork):
        self.run = run
        self.prompts = _behaviour_prompts(run)
        texts = rows_for(run.data, split_prompts(run.data, run.spec.seed), "benign", "report")
        texts = texts[: run.spec.extent.report.benign]
        self.texts: list[Sample] = plain_text(run.loaded, [r.response for r in texts], run.spec.max_response_tokens)
        self.intact = self.of(None, "intact")

    def of(self, mask: PruneMask | None, name: str) -> dict[str, Any]:
        """As ``behaviour``, a stage of the run."""
        return self.run.stage(
            f"behaviour.{name}",
            behaviour_units(self.run.spec.extent),
            lambda: behaviour(self.run.loaded, mask, self.prompts, self.texts, self.run.spec.extent.answer_tokens),
        )

    def rows(self, mask: PruneMask, name: str, where: Where, cost: float | None = None) -> Iterator[Row]:
        """Rows about ``mask``; with its benign ΔL (``cost``) also whether the model collapsed."""
        return behaviour_rows(self.of(mask, name), self.intact, cost, where)


def _behaviour_prompts(run: MapWork) -> dict[str, list[list[int]]]:
    """Report prompts the model answers freely: a few per harm category (``harm``), and benign ones."""
    split = split_prompts(run.data, run.spec.seed)
    chosen: dict[str, list[list[int]]] = {"harm": [], "benign": []}
    for name in (*run.samples.categories, "benign"):
        limit = run.spec.extent.behaviour[name == "benign"]
        rows = choose_rows(rows_for(run.data, split, name, "report"), limit, run.spec.seed, per_prompt=1)
        encoded = [encode_prompt(run.loaded.tokenizer, r.prompt) for r in rows]
        encoded = [ids for ids in encoded if len(ids) <= prompt_limit(run.loaded, run.spec)]
        chosen["benign" if name == "benign" else "harm"] += encoded
    return chosen
