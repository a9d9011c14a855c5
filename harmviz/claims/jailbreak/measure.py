"""C6, attacks × masks. What gets through the intact model, and does the pruned model resist?

The paper's claim: surface guardrails stay brittle, jailbreaks pass them; a model without its harm weights resists. So
every request is put into every attack and answered greedily by the intact model and under each mask: the headline
masks of a map run, plain and contrastive, and where a stage scene was made of that run the mask it chose, beside as
many weights drawn at random in several draws, and the mask that the same rule selects from harmless answers. The same
attacks are put around benign requests: a model that declines those as well has not become safer.

Stages: one per mask and attack for the answers, one for the verdicts on them. The texts stay in scratch, which is
deleted at the end; rates leave (``rows``), and of the mild requests that ship with harmviz a few answers, for the page
to show.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmviz.claims.jailbreak.arms import RANDOM, Arm, make_arms
from harmviz.claims.jailbreak.attacks import Attack, encode_attack
from harmviz.claims.jailbreak.claim import CLAIM
from harmviz.claims.jailbreak.judging import Answered, Stored, described, judged, measure_answers, probe
from harmviz.claims.jailbreak.requests import Request, choose_requests
from harmviz.claims.jailbreak.rows import AnswerGrid
from harmviz.claims.jailbreak.settings import GridSettings
from harmviz.claims.parent import Parent
from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.data.refusal_words import KEYWORD_LIST_ID, reads_as_refusal
from harmviz.errors import BadSetting, DataInvalid
from harmviz.generation.batch import generate_batch
from harmviz.generation.decode import context_length
from harmviz.generation.text import whole_text
from harmviz.judges import Judge
from harmviz.judges.keyword import KeywordJudge
from harmviz.judges.protocol import identity
from harmviz.masks.apply import pruned
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel
from harmviz.runs import Run, find_run
from harmviz.runs.making import Making, Plan, hardware_facts, make, model_facts
from harmviz.runs.progress import Listener

METHOD = 2
#: Answers decoded together; on two cores twice as fast as 16, and no faster beyond.
BATCH = 64
#: Mild requests whose answers are kept, and where.
SHOWN_HARMFUL, SHOWN_BENIGN = 3, 1
TRANSCRIPTS = "results/transcripts.jsonl"


def run_jailbreak(
    parent: Parent,
    attacks: Sequence[Attack],
    settings: GridSettings,
    judges: Sequence[Judge],
    *,
    scene: Run | None = None,
    data: str | None = None,
    own: OwnRequests | None = None,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
    say: Say = lambda _: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the grid of these attacks and settings.

    Args:
        judges: judges beside the keyword list, of either kind.
        scene: a stage scene of the map run, whose mask is one more.
        data, own: as ``choose_requests``.
        root, resume, listener: as ``make``.

    Raises:
        BadSetting: no attack.
        RunIncompatible, SelectionInexact, MaskInvalid: as ``make_arms``. DataInvalid: no request is left.
        ModelUnavailable: a judge cannot be reached.
    """
    if not attacks:
        raise BadSetting("attacks must hold at least one attack")
    loaded = parent.loaded
    arms, notes = make_arms(parent, settings.given_point, draws=settings.draws, seed=settings.seed, scene=scene)
    scored = frozenset(p for a in arms if a.mask is not None for p in a.mask.provenance.get("scoring_prompts", ()))
    chosen = choose_requests(
        parent.run,
        settings.requests,
        harmful=settings.harmful,
        benign=settings.benign,
        seed=settings.seed,
        data=data,
        scored=scored,
        own=own,
        say=say,
    )
    requests = fitting(loaded, attacks, chosen.requests, settings.max_new_tokens)
    notes += chosen.notes
    if too_long := len(chosen.requests) - len(requests):
        notes.append(f"{too_long} requests do not fit the model's context under every attack and are left out")
    for note in notes:
        say(note)
    names = tuple(own.id if own is not None and source == OWN else source for source in settings.requests)
    work = _Work(loaded, tuple(attacks), settings, tuple(judges), arms, requests, "+".join(names))
    plan = work.plan([parent.run.id, *([scene.id] if scene else [])], notes)
    if find_run(plan.run_id, root) is None:
        probe(judges)
    return make(plan, work.do, root=root, resume=resume, listener=listener)


def fitting(
    loaded: LoadedModel, attacks: Sequence[Attack], requests: Sequence[Request], new_tokens: int
) -> tuple[Request, ...]:
    """The requests that leave room for an answer under every attack, so that all attacks are tried on the same ones.

    Raises:
        DataInvalid: no harmful or no benign one does.
    """
    context = context_length(loaded)
    limit = None if context is None else context - new_tokens

    def fits(request: Request) -> bool:
        return limit is None or all(len(encode_attack(loaded.tokenizer, a, request.prompt)) <= limit for a in attacks)

    kept = tuple(request for request in requests if fits(request))
    if len({request.harmful for request in kept}) < 2:
        raise DataInvalid(
            f"under some attack no harmful or no benign request fits {loaded.name}'s context of {context} tokens; "
            "leave out the longest attack with --attacks, or lower --max-new-tokens"
        )
    return kept


@dataclass(frozen=True)
class _Work:
    """What is to be done, and the stages that do it, each depending on settings and earlier stages only."""

    loaded: LoadedModel
    attacks: tuple[Attack, ...]
    settings: GridSettings
    judges: tuple[Judge, ...]
    arms: tuple[Arm, ...]
    requests: tuple[Request, ...]
    data_id: str

    @property
    def _units(self) -> float:
        """What one arm under one attack costs, in forward passes of one sample: the prompts, and decoding steps that
        are shared by a batch."""
        return len(self.requests) * (1 + self.settings.max_new_tokens / 16)

    def plan(self, parents: Sequence[str], notes: Sequence[str]) -> Plan:
        """The run before it begins; ``notes``: on what was left out."""
        counts = Counter(r.category for r in self.requests)
        harmful = sum(r.harmful for r in self.requests)
        asked = "\n".join(f"{r.category} {r.id} {r.mild}" for r in self.requests)
        return Plan(
            name=CLAIM.name,
            version=METHOD,
            model=model_facts(self.loaded),
            device=self.loaded.device.type,
            hardware=hardware_facts(self.loaded),
            parents=parents,
            data={
                "id": self.data_id,
                "hash": hashlib.sha256(asked.encode()).hexdigest(),
                "counts": {category: {"asked": n} for category, n in sorted(counts.items())},
                "left_out": {},
                "notes": list(notes),
            },
            parameters={
                **self.settings.parameters(),
                "attacks": [a.id for a in self.attacks],
                "batch": BATCH,
                "judges": [j.name for j in self.judges],
            },
            seeds={"run": self.settings.seed},
            determinants={
                "attacks": {a.id: a.digest for a in self.attacks},
                "masks": {a.name: a.mask.digest for a in self.arms if a.mask is not None},
                "keywords": KEYWORD_LIST_ID,
                "judges": [identity(j) for j in self.judges],
            },
            units=len(self.arms) * len(self.attacks) * self._units,
            notes={
                "attacks": [a.record() for a in self.attacks],
                "arms": [a.record() for a in self.arms],
                "judges": [described(j) for j in (KeywordJudge(), *self.judges)],
                "requests": {
                    "harmful": harmful,
                    "benign": len(self.requests) - harmful,
                    "mild": sum(r.mild and r.harmful for r in self.requests),
                },
            },
        )

    def do(self, making: Making) -> Mapping[str, Any]:
        """All stages; what the manifest says of their outcome."""
        grid = AnswerGrid(
            [(arm.group, arm.where(CLAIM.name)) for arm in self.arms],
            [attack.id for attack in self.attacks],
            [request.harmful for request in self.requests],
            bare=next((attack.id for attack in self.attacks if attack.plain), None),
            seed=self.settings.seed,
        )
        kinds = {j.name: str(j.kind) for j in self.judges}
        reasons: dict[str, Counter[str]] = defaultdict(Counter)
        shown: list[dict[str, Any]] = []
        for i, arm in enumerate(self.arms):
            for j, attack in enumerate(self.attacks):
                answers, verdicts = self._answered(making, arm, attack)
                grid.put(i, j, measure_answers(answers, verdicts, kinds))
                for judge, stored in verdicts.items():
                    reasons[judge].update(str(v[2]) for v in stored if v is not None and v[0] is None)
                if arm.control != RANDOM or arm.name == f"{RANDOM}-0":  # of one draw of the random mask
                    shown += self._shown(arm, attack, answers)
        making.rows("grid", grid.rows)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in shown)
        making.stage("transcripts", 0.0, lambda: _write(making, TRANSCRIPTS, text))
        return {"unscored": {judge: dict(counts) for judge, counts in reasons.items()}}

    def _answered(
        self, making: Making, arm: Arm, attack: Attack
    ) -> tuple[list[Answered], Mapping[str, Sequence[Stored]]]:
        """The answers of one cell and judges' verdicts on them, made once and read from scratch afterwards."""
        name = f"{arm.name}.{attack.id}"
        answers_file, verdicts_file = f"scratch/answers/{name}.json", f"scratch/verdicts/{name}.json"

        def generate() -> None:
            _write(making, answers_file, json.dumps(self._generate(making, arm, attack)))

        making.stage(f"answers.{name}", self._units, generate)
        stored = json.loads(making.partial.path(answers_file).read_bytes())
        answers = [
            Answered(r.prompt, attack.opening, text, ids, r.harmful, r.mild)
            for r, text, ids in zip(self.requests, stored["texts"], stored["ids"], strict=True)
        ]

        def judge() -> None:
            _write(making, verdicts_file, json.dumps({j.name: judged(j, answers) for j in self.judges}))

        making.stage(f"verdicts.{name}", 0.0, judge)
        return answers, json.loads(making.partial.path(verdicts_file).read_bytes())

    def _generate(self, making: Making, arm: Arm, attack: Attack) -> dict[str, Any]:
        """Greedy answers of at most ``max_new_tokens`` to every request under the attack, as token ids and as text."""
        tokenizer = self.loaded.tokenizer
        prompts = [encode_attack(tokenizer, attack, r.prompt) for r in self.requests]
        opening = tokenizer.encode(attack.opening, add_special_tokens=False) if attack.opening else []
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        tick = making.progress.within(self._units)
        ids: list[list[int]] = [[] for _ in prompts]
        with pruned(self.loaded, arm.mask) if arm.mask is not None else nullcontext():
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                asked = [prompts[i] for i in batch]
                answers = generate_batch(self.loaded, asked, self.settings.max_new_tokens, batch_size=BATCH)
                for i, answer in zip(batch, answers, strict=True):
                    ids[i] = answer
                tick(start + len(batch), len(order))
        # JSON keeps no half surrogate pairs; a tokenizer may write some.
        texts = [whole_text(tokenizer, a, opening).encode("utf-8", "replace").decode() for a in ids]
        return {"ids": ids, "texts": texts}

    def _shown(self, arm: Arm, attack: Attack, answers: Sequence[Answered]) -> list[dict[str, Any]]:
        """The answers that are kept: to a few mild requests."""
        kept: list[dict[str, Any]] = []
        left = {True: SHOWN_HARMFUL, False: SHOWN_BENIGN}
        for request, answer in zip(self.requests, answers, strict=True):
            if request.mild and left[request.harmful]:
                left[request.harmful] -= 1
                kept.append(
                    {
                        "mask": arm.group,
                        "attack": attack.id,
                        "category": request.category,
                        "request": request.prompt,
                        "opening": attack.opening,
                        "answer": answer.text,
                        "refused": reads_as_refusal(answer.text) if answer.text.strip() else None,
                    }
                )
        return kept


def _write(making: Making, name: str, text: str) -> None:
    making.partial.write(name, text.encode("utf-8"))
