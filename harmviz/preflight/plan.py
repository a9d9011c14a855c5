"""Which samples a run would use, counted from the prompt data by the rules of the run itself, without a tokenizer.

The run leaves out a few rows whose responses are too short. They are counted here, and a token is taken as four
letters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.work import Samples
from harmviz.data.prompts import PromptData, PromptRow, load_prompts
from harmviz.data.splits import SCORING, choose_rows, rows_for, split_prompts
from harmviz.data.user_files import SHIPPED
from harmviz.data.wheels import ANSWERS
from harmviz.errors import DataInvalid
from harmviz.models.assets import at_hand
from harmviz.runs import Run

_LETTERS = 4.0


@dataclass(frozen=True)
class DataPlan:
    """How many samples a run would use, and how long they are: (prompt, whole response) in tokens, a pair a sample."""

    samples: Samples
    lengths: tuple[tuple[float, float], ...]
    spec: RunSpec
    notes: tuple[str, ...] = ()

    def tokens_per_sample(self, max_response_tokens: int | None = None) -> float:
        """Mean tokens of a sample, cut where this plan cuts its responses, or elsewhere."""
        cut = max_response_tokens or self.spec.max_response_tokens
        lengths = [min(self.spec.max_prompt_tokens, prompt) + min(cut, response) for prompt, response in self.lengths]
        return sum(lengths) / len(lengths) if lengths else float(cut)


@lru_cache(maxsize=4)
def _named(source: str, _at_hand: bool) -> PromptData:
    return load_prompts(source)


def plan_source(source: str, spec: RunSpec) -> DataPlan:
    """The plan for a set that harmviz knows by name. Fetches nothing: data not here yet is planned as if it were as
    large as the built-in set.

    Raises:
        DataInvalid: the data set is none of these.
    """
    if source not in SHIPPED:
        known = ", ".join(map(repr, SHIPPED))
        raise DataInvalid(f"data {source!r} is none of {known}; upload a file, or use the command line")
    fetched = _is_here(source)
    plan = plan_data(_named(source if fetched else "builtin", fetched), spec)
    if fetched:
        return plan
    note = "the data set is not fetched yet: the run downloads it first (a few MB); sizes are those of the built-in set"
    return replace(plan, notes=(note,))


def _is_here(source: str) -> bool:
    return source == "builtin" or (source in SHIPPED and at_hand(ANSWERS))


def plan_data(data: PromptData, spec: RunSpec) -> DataPlan:
    """The plan for prompt data at hand."""
    roles = split_prompts(data, spec.seed)
    safe = [s for s in data.sets if s.startswith("safe:")]
    half, extent = max(2, spec.samples // 2), spec.extent

    def rows(name: str, split: str, limit: int | None, per_prompt: int | None = None) -> list[PromptRow]:
        return choose_rows(rows_for(data, roles, name, split), limit, spec.seed, per_prompt=per_prompt)

    harm = [r for name in data.categories for h in SCORING for r in rows(name, h, half)]
    others = [r for name in safe for h in SCORING for r in rows(name, h, extent.safe_scored or half)]
    benign = [r for h in SCORING for r in rows("benign", h, extent.benign_scored)]
    prompts = {"validation": extent.validation, "report": extent.report}
    own_answers = {split: rows("benign", split, most.own, 1) for split, most in prompts.items()}
    own_preserved = rows("benign", "preserve", extent.own_preserved, 1)
    preserve = [*rows("benign", "preserve", extent.preserved), *own_preserved]
    held: dict[str, list[PromptRow]] = {}
    controls = 0
    for split, most in prompts.items():
        sets = [rows(n, split, most.most(n), 1) for n in (*data.categories, *safe, "benign")]
        sets.append(own_answers[split])
        held[split] = [r for group in sets for r in group]
        if split == "report":
            controls = sum(-(-len(group) // 3) for group in sets)
    samples = Samples(
        len(data.categories),
        len(harm) + len(others) + len(benign),
        len(harm),
        len(preserve),
        len(held["validation"]),
        len(held["report"]),
        controls,
    )
    notes = tuple(f"{c} is left out: {why}" for c, why in data.left_out.items())
    lengths = tuple((len(r.prompt) / _LETTERS, len(r.response) / _LETTERS) for r in (*harm, *others, *held["report"]))
    return DataPlan(samples, lengths, spec, notes)


def plan_of_run(run: Run) -> DataPlan | None:
    """The plan of a stored run on data that is at hand here; None where its data is not.

    Raises:
        KeyError, TypeError, ValueError: its manifest does not say which settings it used.
    """
    spec = RunSpec.of_run(run.manifest["parameters"])
    source = run.manifest["data"]["id"]
    if _is_here(source):
        return plan_source(source, spec)
    return None
