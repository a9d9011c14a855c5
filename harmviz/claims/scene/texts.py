"""The texts that a scene's sparing masks are scored on: harmful answers, and harmless requests that no tuning saw.

Of harmless requests three kinds of answer: what the embedded start model says to harmless halves of held-out twins, and
to everyday requests, behind the words that the scene puts into the mouth; and what the scene's own model says to the
everyday ones asked directly. Without the opener the first two would be about the first token, where the model decides
to decline, which is past once it has been talked into answering. Harmless halves and everyday requests are also put
before openings that decline, which is not to become likelier; harmful halves too, where it is to stay as likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from harmviz.claims.mapping.samples import scoring_samples
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.twin_answers import (
    AUTHOR,
    Answered,
    everyday_opened_by,
    everyday_samples,
    opened_by,
    samples_of,
)
from harmviz.claims.mapping.work import TWIN_ANSWER_UNITS
from harmviz.claims.parent import Parent
from harmviz.claims.scene.sets import scoring_everyday, scoring_twins
from harmviz.data.encoding import Sample, encode_prompt
from harmviz.data.prompts import PromptData, PromptRow
from harmviz.data.twins import Twin
from harmviz.errors import DataInvalid
from harmviz.generation.batch import generate_batch
from harmviz.judges.declining import openings
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs.making import Making
from harmviz.runs.point import Selector

#: Fewer usable pairs than this say nothing about harm.
MIN_PAIRS = 8
#: The model's own answers to everyday requests are cut here.
OWN_TOKENS = 32


@dataclass(frozen=True)
class Opened:
    """What the author said behind the opener: to both halves of twins, and (request, answer) to everyday requests."""

    pairs: Sequence[Answered]
    everyday: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Texts:
    """Samples by role: ``harmful[selection]`` in groups that weigh alike (harm types); in sets ``answers``,
    ``declining`` (refusals behind harmless requests), ``refusing`` (behind harmful ones)."""

    harmful: Mapping[Selector, Sequence[Sequence[Sample]]] = field(repr=False)
    answers: Sequence[Sequence[Sample]] = field(repr=False)
    declining: Sequence[Sequence[Sample]] = field(repr=False)
    refusing: Sequence[Sequence[Sample]] = field(repr=False)

    @property
    def n_samples(self) -> int:
        sets = (*chain(*self.harmful.values()), *self.answers, *self.declining, *self.refusing)
        return sum(map(len, sets))


def scored_prompts() -> tuple[str, ...]:
    """Ids of the harmless requests, and of the twins' halves, that texts are made of."""
    requests = (*scoring_everyday(), *chain.from_iterable(scoring_twins()))
    return tuple(PromptRow("spared", request, "").prompt_id for request in requests)


def make_texts(
    parent: Parent, data: PromptData | None, said: Opened | None, opener: str, *, twin: bool = True
) -> Texts:
    """The samples of these answers as the scene's model reads them.

    Args:
        data: what the map run was made on; None: nothing is selected as ``guarded``.
        said: by the author; None: nothing is selected as ``twin``, and answers behind the opener spare nothing.
        twin: whether masks are asked for that are selected so.

    Raises:
        DataInvalid: fewer than ``MIN_PAIRS`` pairs, or no answer at all. UnsupportedArchitecture: see ``declined``.
    """
    loaded, harmful = parent.loaded, dict[Selector, Sequence[Sequence[Sample]]]()
    if data is not None:
        spec = RunSpec.of_run(parent.run.manifest["parameters"])
        harmful["guarded"] = [scoring_samples(loaded, data, spec, c) for c in parent.candidates.categories]
    everyday, halves = scoring_everyday(), [half for twin in scoring_twins() for half in twin]
    answers: list[Sequence[Sample]] = [own_answers(loaded, everyday)]
    if said is not None:
        if twin and len(said.pairs) < MIN_PAIRS:
            raise DataInvalid(
                f"{len(said.pairs)} twins have two usable answers, at least {MIN_PAIRS} are needed for twin masks; "
                "leave these out with --selections guarded,both,none"
            )
        harmful_halves, harmless_halves = samples_of(loaded, said.pairs, opener)
        if twin:
            harmful["twin"] = [harmful_halves]
        answers += [harmless_halves, *([everyday_samples(loaded, said.everyday, opener)] if said.everyday else [])]
    if not any(answers):
        raise DataInvalid(
            "the model says nothing to everyday requests, so that no answer can be spared; leave out guarded and twin "
            "masks with --selections both,none"
        )
    return Texts(
        harmful,
        [samples for samples in answers if samples],
        [declined(loaded, everyday), declined(loaded, halves[1::2])],
        [declined(loaded, halves[::2])],
    )


def declined(loaded: LoadedModel, requests: Sequence[str]) -> list[Sample]:
    """Each request with an opening that declines behind it, the openings in turn.

    Raises:
        UnsupportedArchitecture: the tokenizer cannot tell declining and complying openings apart.
    """
    said, _ = openings(loaded.tokenizer)
    prompts = [encode_prompt(loaded.tokenizer, r) for r in requests]
    return [
        Sample(f"declined{i}", f"declined{i}", (*ids, *said[i % len(said)]), len(ids), len(ids))
        for i, ids in enumerate(prompts)
    ]


def own_answers(loaded: LoadedModel, requests: Sequence[str]) -> list[Sample]:
    """Each request with the model's own greedy answer, asked directly; none where it says nothing."""
    prompts = [encode_prompt(loaded.tokenizer, r) for r in requests]
    answers = generate_batch(loaded, prompts, OWN_TOKENS)
    return [
        Sample(f"own{i}", f"own{i}", (*ids, *answer), len(ids), len(ids))
        for i, (ids, answer) in enumerate(zip(prompts, answers, strict=True))
        if answer
    ]


def said_behind(experiment: Making, loaded: LoadedModel, opener: str) -> Opened | None:
    """What the embedded start model says behind the opener to the scoring twins and everyday requests; None where that
    is the scene's model itself."""

    def work() -> list[Any] | None:
        author = load_model(AUTHOR, device=str(loaded.device))
        if author.weight_hash == loaded.weight_hash:
            return None
        tick = experiment.progress.within(TWIN_ANSWER_UNITS)
        pairs = opened_by(author, scoring_twins(), opener, tick=tick)
        return [pairs, everyday_opened_by(author, scoring_everyday(), opener, tick=lambda done, total: None)]

    if (stored := experiment.json("twins", TWIN_ANSWER_UNITS, work)) is None:
        return None
    pairs, everyday = stored
    return Opened(
        [Answered(Twin(*twin), *texts) for twin, *texts in pairs], [(asked, said) for asked, said in everyday]
    )
