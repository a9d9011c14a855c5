"""Who scores, who protects, who is measured: the rows of one scoring split, the same for every checkpoint and ranking,
and how a model reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from harmviz.claims.compression.sizes import MIN_HELD_OUT, Sizes
from harmviz.data.encoding import Sample, encode, encode_prompt
from harmviz.data.prompts import PromptData, PromptRow
from harmviz.data.splits import SCORING, choose_rows, split_prompts
from harmviz.errors import DataInvalid

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel


@dataclass(frozen=True)
class SplitRows:
    """The rows of one split, chosen once for all checkpoints.

    Attributes:
        signed: (set, scoring half) → rows of every category, of ``safe`` and of ``benign``.
        preserve: rows of the utility score.
        held_out: measured rows, one answer a prompt.
    """

    signed: dict[tuple[str, str], list[PromptRow]] = field(repr=False)
    preserve: list[PromptRow] = field(repr=False)
    held_out: list[PromptRow] = field(repr=False)
    categories: tuple[str, ...]

    @property
    def n_signed(self) -> int:
        """How many answers are scored with a sign."""
        return sum(map(len, self.signed.values()))

    @property
    def n_harmful(self) -> int:
        """How many of them are harmful."""
        return sum(len(self.signed[category, half]) for category in self.categories for half in SCORING)

    @property
    def row_ids(self) -> list[str]:
        return [r.id for group in (*self.signed.values(), self.preserve, self.held_out) for r in group]

    def counts(self) -> dict[str, dict[str, int]]:
        """Set → role → rows."""
        counts: dict[str, dict[str, int]] = {}
        for (name, half), rows in self.signed.items():
            counts.setdefault(name, {})[half] = len(rows)
        counts["benign"]["preserve"] = len(self.preserve)
        for row in self.held_out:
            of_set = counts.setdefault(row.set, {})
            of_set["held_out"] = of_set.get("held_out", 0) + 1
        return counts


def usable_categories(data: PromptData) -> tuple[str, ...]:
    """The harm categories that have a same-topic safe set: without one there is no harm-specific effect.

    Raises:
        DataInvalid: none has one, or the data has no harmless set.
    """
    categories = tuple(c for c in data.categories if f"safe:{c}" in data.sets)
    if not categories:
        raise DataInvalid(
            f"data {data.id}: no harm category has a set safe:<category>, so that nothing tells harm from its topic; "
            "add one"
        )
    if "benign" not in data.sets:
        raise DataInvalid(f"data {data.id}: it has no benign rows, which protect and limit the masks; add some")
    return categories


def choose_split(data: PromptData, spec: Sizes, seed: int, fits: Callable[[PromptRow], bool]) -> SplitRows:
    """The rows of the scoring split of this seed that ``fits`` accepts.

    Raises:
        DataInvalid: a set has too few rows for one of its roles; the message names set, role and split.
    """
    roles, categories = split_prompts(data, seed), usable_categories(data)

    def chosen(
        name: str, wanted: Sequence[str], limit: int, at_least: int = 1, *, per_prompt: int | None = None
    ) -> list[PromptRow]:
        rows: list[PromptRow] = []
        for which in wanted:
            usable = [row for row in data.of(name) if roles[row.prompt_id] == which and fits(row)]
            rows += choose_rows(usable, None, seed, per_prompt=per_prompt)
        if len(rows) < at_least:
            raise DataInvalid(
                f"data {data.id}, split {seed}: {len(rows)} usable rows of {name} for {' and '.join(wanted)}, at least "
                f"{at_least} are needed; add prompts, or allow longer ones"
            )
        return rows[:limit]

    signed: dict[tuple[str, str], list[PromptRow]] = {}
    for half in SCORING:
        for category in categories:
            signed[category, half] = chosen(category, [half], max(1, spec.samples // 2))
        of_each = max(1, spec.safe // 2)
        signed["safe", half] = [row for c in categories for row in chosen(f"safe:{c}", [half], of_each)]
        signed["benign", half] = chosen("benign", [half], max(1, spec.benign // 2))
    held_out: list[PromptRow] = []
    for name in (*categories, *(f"safe:{c}" for c in categories), "benign"):
        limit = spec.benign_held_out if name == "benign" else spec.held_out
        held_out += chosen(name, ["report", "validation"], limit, MIN_HELD_OUT, per_prompt=1)
    return SplitRows(signed, chosen("benign", ["preserve"], spec.preserve), held_out, categories)


def fitting(loaded: LoadedModel, sizes: Sizes) -> Callable[[PromptRow], bool]:
    """Whether a row's prompt is short enough and its response has a token; asked once a row."""
    tokenizer = loaded.tokenizer

    @cache
    def fits(row: PromptRow) -> bool:
        short = len(encode_prompt(tokenizer, row.prompt)) <= sizes.max_prompt_tokens
        return short and len(tokenizer.encode(row.response, add_special_tokens=False)) > 0

    return fits


def encoded(loaded: LoadedModel, rows: Sequence[PromptRow], sizes: Sizes) -> list[Sample]:
    """The rows as the model reads them, answers cut at ``max_response_tokens``."""
    return [encode(loaded.tokenizer, r, max_response_tokens=sizes.max_response_tokens) for r in rows]
