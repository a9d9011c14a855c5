"""What a mask does to the model's own text: keyword refusals, repetition, perplexity on plain text, collapse.

Texts stay in memory: only rates leave. The keyword detector is a lower bound of refusals (see
``harmviz.data.refusal``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harmviz.data.encoding import Sample
from harmviz.data.refusal import refusal_rate
from harmviz.generation.batch import generate_batch
from harmviz.generation.repetition import is_collapsed, mean_repetition, repeated_tokens
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.runs import Row
from harmviz.runs.rows import Where
from harmviz.scoring.loss import response_losses
from harmviz.stats.bootstrap import paired_effect
from harmviz.stats.estimate import Estimate


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
