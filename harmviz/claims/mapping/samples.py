"""The encoded sets of one run: who scores, who protects, who chooses, who reports.

Every prompt has one role (``harmviz.data.splits``). Sets measured: each harm category, ``safe:<category>``, ``benign``
(off-policy) and ``benign_own`` (the model's own greedy answers to the same held-out benign prompts).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harmviz.claims.mapping.settings import SKIPS, RunSpec
from harmviz.claims.mapping.twin_answers import AUTHOR, Answered, samples_of
from harmviz.claims.mapping.work import Samples
from harmviz.data.encoding import Sample, encode_all, encode_prompt
from harmviz.data.prompts import PromptData, PromptRow
from harmviz.data.splits import SCORING, choose_rows, rows_for, split_prompts
from harmviz.errors import DataInvalid
from harmviz.generation.decode import context_length
from harmviz.models.load import LoadedModel

HELD_OUT = ("validation", "report")


@dataclass(frozen=True)
class MeasuredSet:
    """Samples of one held-out split, the set that each belongs to, and its source: equal ones have equal authors.

    Without sources all samples are taken to be of one.
    """

    samples: tuple[Sample, ...]
    sets: tuple[str, ...]
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            object.__setattr__(self, "sources", ("",) * len(self.sets))

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(s.prompt_id for s in self.samples)

    def digest(self) -> str:
        text = "\n".join(f"{name} {s.row_id} {s.ids}" for name, s in zip(self.sets, self.samples, strict=True))
        return hashlib.sha256(text.encode()).hexdigest()

    def subset(self, prompts: set[str]) -> MeasuredSet:
        kept = [i for i, s in enumerate(self.samples) if s.prompt_id in prompts]
        return self.at(kept)

    def at(self, places: Iterable[int]) -> MeasuredSet:
        """The samples at these places, in their order."""
        kept = list(places)
        samples, sets, sources = self.samples, self.sets, self.sources
        return MeasuredSet(
            tuple(samples[i] for i in kept), tuple(sets[i] for i in kept), tuple(sources[i] for i in kept)
        )


@dataclass(frozen=True)
class RunSamples:
    """``scoring[(set, half)]`` for every category, ``safe`` (pooled over categories) and ``benign``; ``preserve``;
    ``held_out[split]``; ``counts[set][split]``; ``dropped[set][reason]``: rows of the data, and own answers, that are
    used nowhere; ``scoring_prompts``: ids that evaluation must leave out."""

    scoring: dict[tuple[str, str], list[Sample]]
    preserve: list[Sample]
    held_out: dict[str, MeasuredSet]
    control_subset: MeasuredSet
    counts: dict[str, dict[str, int]]
    categories: tuple[str, ...]
    dropped: dict[str, dict[str, int]]
    scoring_prompts: tuple[str, ...] = field(repr=False, default=())
    #: The author-matched twins: all harmful halves, then all harmless ones, pair by pair.
    twins: MeasuredSet = MeasuredSet((), ())

    def amounts(self) -> Samples:
        """How many samples have which role."""
        n = {key: len(group) for key, group in self.scoring.items()}
        return Samples(
            categories=len(self.categories),
            scoring=sum(n.values()),
            harm_scoring=sum(v for (name, _), v in n.items() if name in self.categories),
            preserve=len(self.preserve),
            validation=len(self.held_out["validation"].samples),
            report=len(self.held_out["report"].samples),
            controls=len(self.control_subset.samples),
            twins=len(self.twins.samples),
        )

    @property
    def scored_sets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name, _ in self.scoring))


def prompt_limit(loaded: LoadedModel, spec: RunSpec) -> int:
    """Longest prompt used, in tokens: as set, or what the model's context leaves beside a response."""
    context, most = context_length(loaded), spec.max_prompt_tokens
    return most if context is None else min(most, context - spec.max_response_tokens)


def length_notes(loaded: LoadedModel, data: PromptData, spec: RunSpec) -> list[str]:
    """What a run leaves out of the data because of its length in this model's tokens, counted by set; a line a reason.

    The same is stored with the run; this says it before anything is computed.
    """
    choose = _Chooser(loaded, data, spec)
    dropped = choose.dropped()
    notes = []
    for why in dict.fromkeys(why for reasons in dropped.values() for why in reasons):
        of_set = {name: reasons[why] for name, reasons in sorted(dropped.items()) if why in reasons}
        counted = ", ".join(f"{name}: {n:,}" for name, n in of_set.items())
        note = f"{sum(of_set.values()):,} rows ({counted}) are left out: {why}"
        if why == choose.too_long:
            raised = choose.max_prompt_tokens == spec.max_prompt_tokens
            note += "; --max-prompt-tokens raises the limit" if raised else "; the model's context holds no more"
        notes.append(note)
    return notes


def own_prompts(data: PromptData, spec: RunSpec) -> dict[str, list[PromptRow]]:
    """The benign rows whose prompts the model answers itself, by split (preserve, validation, report)."""
    roles, extent = split_prompts(data, spec.seed), spec.extent
    limits = {"preserve": extent.own_preserved, "validation": extent.validation.own, "report": extent.report.own}
    return {
        split: choose_rows(rows_for(data, roles, "benign", split), limit, spec.seed, per_prompt=1)
        for split, limit in limits.items()
    }


class _Chooser:
    """Which rows of the data have which role, and how they are encoded."""

    def __init__(self, loaded: LoadedModel, data: PromptData, spec: RunSpec):
        self.loaded, self.data, self.spec = loaded, data, spec
        self.roles = split_prompts(data, spec.seed)
        self.per_half = max(2, spec.samples // 2)
        self.max_prompt_tokens = prompt_limit(loaded, spec)
        self.too_long = f"prompt longer than {self.max_prompt_tokens:,} tokens"
        self._reasons: dict[str, str | None] = {}

    def encoded(self, rows: Iterable[PromptRow], skip: int) -> list[Sample]:
        return encode_all(
            self.loaded.tokenizer,
            list(rows),
            max_response_tokens=self.spec.max_response_tokens,
            skip_tokens=skip,
            max_prompt_tokens=self.max_prompt_tokens,
        )

    def fits(self, row: PromptRow) -> bool:
        """Whether its prompt is within the limit."""
        return len(encode_prompt(self.loaded.tokenizer, row.prompt)) <= self.max_prompt_tokens

    def reason(self, row: PromptRow) -> str | None:
        """Why the row is left out everywhere, or None. A response must be longer than the largest skip, so that both
        losses exist."""
        if row.id not in self._reasons:
            tokenizer, why = self.loaded.tokenizer, None
            if not self.fits(row):
                why = self.too_long
            elif len(tokenizer.encode(row.response, add_special_tokens=False)) <= max(SKIPS):
                why = f"answer of {max(SKIPS)} tokens or fewer"
            self._reasons[row.id] = why
        return self._reasons[row.id]

    def usable(self, rows: Iterable[PromptRow]) -> list[PromptRow]:
        """The rows that are not left out."""
        return [r for r in rows if self.reason(r) is None]

    def dropped(self) -> dict[str, dict[str, int]]:
        """Set → reason → number of its rows that are left out; sets that lost none are not named."""
        of_set = {name: Counter(filter(None, map(self.reason, self.data.of(name)))) for name in self.data.sets}
        return {name: dict(sorted(reasons.items())) for name, reasons in of_set.items() if reasons}

    def chosen(self, set_name: str, split: str, limit: int | None, per_prompt: int | None = None) -> list[PromptRow]:
        rows = rows_for(self.data, self.roles, set_name, split)
        kept = self.usable(choose_rows(rows, None, self.spec.seed, per_prompt=per_prompt))
        return kept if limit is None else kept[:limit]

    def scoring(self, set_name: str, half: str) -> list[Sample]:
        """The scoring samples of one half of a category, of ``benign``, or of ``safe`` (pooled over categories)."""
        if set_name == "safe":
            names = [s for s in self.data.sets if s.startswith("safe:")]
            limit = self.spec.extent.safe_scored or self.per_half
            rows = [row for name in names for row in self.chosen(name, half, limit)]
        else:
            benign = self.spec.extent.benign_scored
            rows = self.chosen(set_name, half, benign if set_name == "benign" else self.per_half)
        return self.encoded(rows, self.spec.skip_tokens)


def scoring_samples(loaded: LoadedModel, data: PromptData, spec: RunSpec, set_name: str) -> list[Sample]:
    """The samples a set was scored on, both halves: what the causal check repeats."""
    chooser = _Chooser(loaded, data, spec)
    return [s for half in SCORING for s in chooser.scoring(set_name, half)]


def build_samples(
    loaded: LoadedModel,
    data: PromptData,
    spec: RunSpec,
    answers: dict[str, list[PromptRow]],
    twins: Sequence[Answered] = (),
) -> RunSamples:
    """Encodes and distributes all rows. ``answers``: the model's own as rows of ``benign_own``, by split. ``twins``:
    the author-matched ones.

    Raises:
        DataInvalid: a category or the benign set has no sample left for one of its roles.
    """
    choose = _Chooser(loaded, data, spec)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    safe_sets = [s for s in data.sets if s.startswith("safe:")]
    answers = {split: choose.usable(rows) for split, rows in answers.items()}
    scoring: dict[tuple[str, str], list[Sample]] = {}
    for half in SCORING:
        for name in (*data.categories, "safe", "benign"):
            scoring[name, half] = choose.scoring(name, half)
            counts[name][half] = len(scoring[name, half])
    kept = choose.chosen("benign", "preserve", spec.extent.preserved)
    preserve = choose.encoded([*kept, *answers["preserve"]], spec.skip_tokens)
    counts["benign"]["preserve"] = len(preserve) - len(answers["preserve"])
    counts["benign_own"] = {"preserve": len(answers["preserve"])}
    held_out = {}
    for split, prompts in zip(HELD_OUT, (spec.extent.validation, spec.extent.report), strict=True):
        samples: list[Sample] = []
        sets: list[str] = []
        sources: list[str] = []
        for name in (*data.categories, *safe_sets, "benign", "benign_own"):
            own = name == "benign_own"
            rows = answers[split] if own else choose.chosen(name, split, prompts.most(name), per_prompt=1)
            new = choose.encoded(rows, 0)
            samples += new
            sets += [name] * len(new)
            source_of = {row.id: row.source for row in rows}
            sources += [source_of[s.row_id] for s in new]
            counts[name][split] = len(new)
        held_out[split] = MeasuredSet(tuple(samples), tuple(sets), tuple(sources))
    dropped = choose.dropped()
    asked = [r for rows in own_prompts(data, spec).values() for r in rows if choose.fits(r)]
    if blank := len(asked) - sum(map(len, answers.values())):
        dropped["benign_own"] = {f"the model's own answer blank, or of {max(SKIPS)} tokens or fewer": blank}
    for name, by_split in counts.items():
        for split, n in by_split.items():
            # own answers can all be too short on a model that says little; everything else is needed
            if n == 0 and name != "benign_own" and not name.startswith("safe:"):
                lost = "; ".join(f"{k} rows: {why}" for why, k in dropped.get(name, {}).items())
                raise DataInvalid(
                    f"data {data.id}: no usable row of {name} is left for {split}"
                    + (f" ({lost}); add prompts, or raise --max-prompt-tokens" if lost else "; add prompts to this set")
                )
    used = {s.prompt_id for group in scoring.values() for s in group} | {s.prompt_id for s in preserve}
    return RunSamples(
        scoring,
        preserve,
        held_out,
        _control_subset(held_out["report"]),
        {k: dict(v) for k, v in counts.items()},
        data.categories,
        dropped,
        tuple(sorted(used)),
        twins=_twins(loaded, twins),
    )


def _twins(loaded: LoadedModel, answered: Sequence[Answered]) -> MeasuredSet:
    harmful, harmless = samples_of(loaded, answered)
    sets = ("harmful",) * len(harmful) + ("harmless",) * len(harmless)
    return MeasuredSet((*harmful, *harmless), sets, (AUTHOR,) * len(sets))


def _control_subset(report: MeasuredSet) -> MeasuredSet:
    """Every third prompt of each set: the fixed subset on which the drawn controls (many masks) are measured."""
    seen: dict[str, int] = defaultdict(int)
    kept: set[str] = set()
    for name, prompt in zip(report.sets, report.prompts, strict=True):
        if seen[name] % 3 == 0:
            kept.add(prompt)
        seen[name] += 1
    return report.subset(kept)
