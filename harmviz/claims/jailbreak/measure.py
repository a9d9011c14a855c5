"""C6, the jailbreak grid: attacks × masks. What gets through the intact model, and does the pruned model resist?

The paper's claim: surface guardrails stay brittle, jailbreaks pass them; a model without its harm weights resists. So every request is
put into every attack (``harmviz.claims.jailbreak.attacks``) and answered greedily by the intact model and under each mask: the headline masks
of a map run, plain and contrastive, and where a stage scene was made of that run the mask it chose, beside as many weights drawn at random in several draws, and the mask that the same rule
selects from harmless answers. The same attacks are put around benign requests: a model that declines those as well has not become safer.

Stages: one per mask and attack for the answers, one for the verdicts on them. The texts stay in scratch, which is deleted at the end;
rates leave (``jailbreak_rows``), and of the mild requests that ship with harmviz a few answers, for the page to show.
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

from harmviz.claims.jailbreak.attacks import Attack, encode_attack
from harmviz.claims.jailbreak.judging import described, judged, probe
from harmviz.claims.jailbreak.requests import Request, check_sources, choose_requests
from harmviz.claims.jailbreak.rows import INTACT, RANDOM, STATES, Answers, Arm, Grid, measure_answers, mostly_repeats
from harmviz.claims.parent import Parent
from harmviz.claims.scene.record import MASK as SCENE_MASK
from harmviz.data.refusal import KEYWORD_LIST_ID, reads_as_refusal
from harmviz.errors import BadSetting, DataInvalid, RunIncompatible
from harmviz.generation.batch import generate_batch
from harmviz.generation.decode import context_length
from harmviz.generation.text import whole_text
from harmviz.judges import Judge
from harmviz.judges.keyword import KeywordJudge
from harmviz.judges.protocol import identity
from harmviz.masks.apply import check_mask, pruned
from harmviz.masks.lists import Contrast
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import check_fraction
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel
from harmviz.runs import Run, find_run
from harmviz.runs.making import Making, Plan, make, model_facts
from harmviz.runs.progress import Listener

METHOD = 2
#: Answers decoded together; on two cores twice as fast as 16, and no faster beyond.
BATCH = 64
#: Mild requests whose answers are kept, and where.
SHOWN_HARMFUL, SHOWN_BENIGN = 3, 1
TRANSCRIPTS = "results/transcripts.jsonl"
#: The selections that a map run chooses a mask by.
SELECTIONS: tuple[Contrast, ...] = ("none", "both")


@dataclass(frozen=True)
class JailbreakSpec:
    """Settings of the grid. ``requests``: sources of the harmful requests (``SOURCES``). ``harmful``, ``benign``: at most so many requests.
    ``q``, ``p``: the masks' point instead of the run's headline points. ``draws``: random masks. ``seed``: of choices, draws, intervals.

    Raises:
        ValueError: a setting is out of range.
    """

    attacks: tuple[Attack, ...]
    requests: tuple[str, ...] = ("builtin",)
    harmful: int = 64
    benign: int = 32
    max_new_tokens: int = 64
    draws: int = 2
    seed: int = 0
    q: float | None = None
    p: float | None = None

    def __post_init__(self) -> None:
        if not self.attacks:
            raise BadSetting("attacks must hold at least one attack")
        object.__setattr__(self, "requests", check_sources(self.requests))
        limits = {
            "harmful": (2, 10_000),
            "benign": (2, 10_000),
            "max_new_tokens": (8, 4096),
            "draws": (2, 20),
            "seed": (0, 2**31 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise BadSetting(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        if (self.q is None) != (self.p is None):
            raise BadSetting("q and p belong together: give both, or neither for the run's own")
        if self.q is not None:
            check_fraction("q", self.q)
            check_fraction("p", self.p)

    def parameters(self) -> dict[str, Any]:
        return {
            "attacks": [a.id for a in self.attacks],
            "requests": list(self.requests),
            "harmful": self.harmful,
            "benign": self.benign,
            "max_new_tokens": self.max_new_tokens,
            "draws": self.draws,
            "q": self.q,
            "p": self.p,
            "batch": BATCH,
        }


# -- masks ------------------------------------------------------------------------------------------------------------
def mask_points(run: Run, spec: JailbreakSpec) -> dict[Contrast, tuple[float, float]]:
    """Contrast → (q, p) of its mask. Reads the manifest alone, so that a run that does not fit is found out at once.

    Raises:
        RunIncompatible: no map run, or one without headline points where none are given.
    """
    if run.kind != "map":
        raise RunIncompatible(
            f"run {run.id} is an {run.kind}, and masks come from map runs; `python -m harmviz runs` lists them"
        )
    headline = run.manifest["method"].get("headline") or {}
    if spec.q is not None and spec.p is not None:
        return {c: (spec.q, spec.p) for c in SELECTIONS}
    if not headline:
        raise RunIncompatible(
            f"run {run.id} has chosen no (q, p), so it has no headline masks; say which with --q and --p"
        )
    return {c: (float(headline[c]["q"]), float(headline[c]["p"])) for c in SELECTIONS if c in headline}


def make_arms(parent: Parent, spec: JailbreakSpec, scene: Run | None = None) -> tuple[tuple[Arm, ...], list[str]]:
    """The states of the model that are compared, the intact one first; and notes on what is not among them.

    Raises:
        RunIncompatible: as ``mask_points``. SelectionInexact: the run's candidates do not settle such a mask.
        MaskInvalid: a mask must not be applied.
    """
    arms = [Arm(INTACT, INTACT, None, {"mask": None, "control": "none"})]
    notes: list[str] = []
    points = {c: at for c, at in mask_points(parent.run, spec).items() if c == "none" or parent.candidates.has_contrast}
    if "both" not in points:
        notes.append("the run did not score both harmless sets: there is no contrastive mask")
    base: Contrast = "both" if "both" in points else "none"
    for contrast, (q, p) in points.items():
        mask = parent.mask(q, p, contrast)
        about = {
            "mask": "mean(all)",
            "control": "none",
            "contrast": contrast,
            "q": q,
            "p": p,
            "scope": "global",
            "n_weights": mask.n_weights,
        }
        arms.append(Arm(STATES[contrast], STATES[contrast], mask, about))
    (q, p), matched = points[base], arms[-1]
    if scene is not None:
        matched = scene_arm(parent.run, scene)
        arms.append(matched)
        q, p = matched.facts["q"], matched.facts["p"]
    assert matched.mask is not None
    for draw in range(spec.draws):
        drawn = parent.random(matched.mask, p, seed=spec.seed, draw=draw)
        arms.append(
            Arm(f"{RANDOM}-{draw}", RANDOM, drawn, {**matched.facts, "control": "random", "n_weights": drawn.n_weights})
        )
    if (signed := parent.benign_signed(q, p)) is not None:
        arms.append(
            Arm(
                "benign_signed",
                "benign_signed",
                signed,
                {**matched.facts, "control": "benign_signed", "n_weights": signed.n_weights},
            )
        )
    else:
        notes.append("the run does not settle the benign-signed control at this point: it is left out")
    for arm in arms:
        if arm.mask is not None:
            check_mask(parent.loaded, arm.mask)
    return tuple(arms), notes


def scene_arm(run: Run, scene: Run) -> Arm:
    """The mask that a stage scene of this map run chose, as a state of the model.

    Raises:
        RunIncompatible: no scene, or one of another run. MaskInvalid: its mask is damaged.
    """
    method = scene.manifest["method"]
    if method.get("experiment") != "scene" or scene.manifest["parents"] != [run.id] or SCENE_MASK not in scene.masks():
        raise RunIncompatible(
            f"run {scene.id} is no stage scene of run {run.id}; make one with `python -m harmviz experiment scene {run.id}`"
        )
    chosen = method["chosen"]
    if (name := chosen["contrast"]) in SELECTIONS:
        raise RunIncompatible(
            f"scene {scene.id} chose a {STATES[name]} mask: give its --q {chosen['q']:g} --p {chosen['p']:g} instead of --scene"
        )
    about = {
        "mask": "mean(all)",
        "control": "none",
        "scope": "global",
        **{k: chosen[k] for k in ("contrast", "q", "p", "n_weights")},
    }
    return Arm(name, name, PruneMask.load(scene.masks()[SCENE_MASK]), about)


# -- the experiment ---------------------------------------------------------------------------------------------------
def fitting(
    loaded: LoadedModel, attacks: Sequence[Attack], requests: Sequence[Request], new_tokens: int
) -> tuple[Request, ...]:
    """The requests that leave room for an answer under every attack, so that all attacks are tried on the same ones.

    Raises:
        DataInvalid: no harmful or no benign one does.
    """
    context = context_length(loaded)
    limit = None if context is None else context - new_tokens
    kept = tuple(
        r
        for r in requests
        if limit is None or all(len(encode_attack(loaded.tokenizer, a, r.prompt)) <= limit for a in attacks)
    )
    if len({r.harmful for r in kept}) < 2:
        raise DataInvalid(
            f"under some attack no harmful or no benign request fits {loaded.name}'s context of {context} tokens; "
            "leave out the longest attack with --attacks, or lower --max-new-tokens"
        )
    return kept


def run_jailbreak(
    parent: Parent,
    spec: JailbreakSpec,
    judges: Sequence[Judge],
    *,
    scene: Run | None = None,
    data: str | None = None,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
    say: Say = lambda _: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the grid of these settings.

    Args:
        judges: judges beside the keyword list, of either kind.
        scene: a stage scene of the map run, whose mask is one more.
        data: as ``choose_requests``.
        root, resume, listener: as ``make``.

    Raises:
        RunIncompatible, SelectionInexact, MaskInvalid: as ``make_arms``. DataInvalid: no request is left.
        ModelUnavailable: a judge cannot be reached.
    """
    loaded = parent.loaded
    arms, notes = make_arms(parent, spec, scene)
    scored = frozenset(p for a in arms if a.mask is not None for p in a.mask.provenance.get("scoring_prompts", ()))
    chosen = choose_requests(
        parent.run,
        check_sources(spec.requests),
        harmful=spec.harmful,
        benign=spec.benign,
        seed=spec.seed,
        data=data,
        scored=scored,
        say=say,
    )
    requests = fitting(loaded, spec.attacks, chosen.requests, spec.max_new_tokens)
    notes += chosen.notes
    if too_long := len(chosen.requests) - len(requests):
        notes.append(f"{too_long} requests do not fit the model's context under every attack and are left out")
    for note in notes:
        say(note)
    plan = _plan([parent.run.id, *([scene.id] if scene else [])], parent.loaded, spec, judges, arms, requests, notes)
    if find_run(plan.run_id, root) is None:
        probe(judges)
    return make(
        plan,
        lambda experiment: _Work(experiment, loaded, spec, judges, arms, requests).done(),
        root=root,
        resume=resume,
        listener=listener,
    )


def _plan(
    parents: Sequence[str],
    loaded: LoadedModel,
    spec: JailbreakSpec,
    judges: Sequence[Judge],
    arms: Sequence[Arm],
    requests: Sequence[Request],
    notes: Sequence[str],
) -> Plan:
    counts = Counter(r.category for r in requests)
    harmful = sum(r.harmful for r in requests)
    digests = {a.name: a.mask.digest for a in arms if a.mask is not None}
    return Plan(
        name="jailbreak",
        version=METHOD,
        model=model_facts(loaded),
        device=loaded.device.type,
        parents=parents,
        data={
            "id": "+".join(spec.requests),
            "hash": hashlib.sha256("\n".join(f"{r.category} {r.id} {r.mild}" for r in requests).encode()).hexdigest(),
            "counts": {category: {"asked": n} for category, n in sorted(counts.items())},
            "left_out": {},
            "notes": list(notes),
        },
        parameters={**spec.parameters(), "judges": [j.name for j in judges]},
        seeds={"run": spec.seed},
        determinants={
            "attacks": {a.id: a.digest for a in spec.attacks},
            "masks": digests,
            "keywords": KEYWORD_LIST_ID,
            "judges": [identity(j) for j in judges],
        },
        units=len(arms) * len(spec.attacks) * _units(spec, len(requests)),
        notes={
            "attacks": [a.record() for a in spec.attacks],
            "arms": [{"name": a.name, "group": a.group, "digest": digests.get(a.name), **a.facts} for a in arms],
            "judges": [described(j) for j in (KeywordJudge(), *judges)],
            "requests": {
                "harmful": harmful,
                "benign": len(requests) - harmful,
                "mild": sum(r.mild and r.harmful for r in requests),
            },
        },
    )


def _units(spec: JailbreakSpec, n_requests: int) -> float:
    """What one cell costs, in forward passes of one sample: the prompt, and decoding steps that are shared by a batch."""
    return n_requests * (1 + spec.max_new_tokens / 16)


@dataclass
class _Work:
    """The stages, each depending on settings and earlier stages only."""

    experiment: Making
    loaded: LoadedModel
    spec: JailbreakSpec
    judges: Sequence[Judge]
    arms: Sequence[Arm]
    requests: Sequence[Request]

    def done(self) -> Mapping[str, Any]:
        """Does all stages; what the manifest says of their outcome."""
        grid = Grid(self.arms, self.spec.attacks, self.requests, self.spec.seed)
        kinds = {j.name: str(j.kind) for j in self.judges}
        reasons: dict[str, Counter[str]] = defaultdict(Counter)
        shown: list[dict[str, Any]] = []
        for i, arm in enumerate(self.arms):
            for j, attack in enumerate(self.spec.attacks):
                found = self._cell(arm, attack)
                grid.put(i, j, measure_answers(found, kinds))
                for judge, verdicts in found.verdicts.items():
                    reasons[judge].update(str(v[2]) for v in verdicts if v is not None and v[0] is None)
                shown += self._shown(arm, attack, found)
        self.experiment.rows("grid", grid.rows)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in shown)
        self.experiment.stage("transcripts", 0.0, lambda: self._write(TRANSCRIPTS, text))
        return {"unscored": {judge: dict(counts) for judge, counts in reasons.items()}}

    def _write(self, name: str, text: str) -> None:
        self.experiment.partial.write(name, text.encode("utf-8"))

    def _cell(self, arm: Arm, attack: Attack) -> Answers:
        """The answers of one cell, generated and judged once and read from scratch afterwards."""
        name = f"{arm.name}.{attack.id}"
        texts, verdicts = f"scratch/answers/{name}.json", f"scratch/verdicts/{name}.json"
        self.experiment.stage(
            f"answers.{name}",
            _units(self.spec, len(self.requests)),
            lambda: self._write(texts, json.dumps(self._answer(arm, attack))),
        )
        found = json.loads(self.experiment.partial.path(texts).read_bytes())

        def judge() -> None:
            repetitive = [mostly_repeats(ids) for ids in found["ids"]]
            said = {j.name: judged(j, attack, self.requests, found["texts"], repetitive) for j in self.judges}
            self._write(verdicts, json.dumps(said))

        self.experiment.stage(f"verdicts.{name}", 0.0, judge)
        return Answers(found["ids"], found["texts"], json.loads(self.experiment.partial.path(verdicts).read_bytes()))

    def _answer(self, arm: Arm, attack: Attack) -> dict[str, Any]:
        """Greedy answers of at most ``max_new_tokens`` to every request under the attack, as token ids and as text."""
        tokenizer = self.loaded.tokenizer
        prompts = [encode_attack(tokenizer, attack, r.prompt) for r in self.requests]
        opening = tokenizer.encode(attack.opening, add_special_tokens=False) if attack.opening else []
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        tick = self.experiment.progress.within(_units(self.spec, len(prompts)))
        ids: list[list[int]] = [[] for _ in prompts]
        with pruned(self.loaded, arm.mask) if arm.mask is not None else nullcontext():
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                answers = generate_batch(
                    self.loaded, [prompts[i] for i in batch], self.spec.max_new_tokens, batch_size=BATCH
                )
                for i, answer in zip(batch, answers, strict=True):
                    ids[i] = answer
                tick(start + len(batch), len(order))
        # JSON keeps no half surrogate pairs; a tokenizer may write some.
        texts = [whole_text(tokenizer, a, opening).encode("utf-8", "replace").decode() for a in ids]
        return {"ids": ids, "texts": texts}

    def _shown(self, arm: Arm, attack: Attack, found: Answers) -> list[dict[str, Any]]:
        """The answers that are kept: to a few mild requests, of one draw of the random mask."""
        if arm.group == RANDOM and arm.name != f"{RANDOM}-0":
            return []
        kept: list[dict[str, Any]] = []
        left = {True: SHOWN_HARMFUL, False: SHOWN_BENIGN}
        for request, answer in zip(self.requests, found.texts, strict=True):
            if request.mild and left[request.harmful]:
                left[request.harmful] -= 1
                kept.append(
                    {
                        "mask": arm.group,
                        "attack": attack.id,
                        "category": request.category,
                        "request": request.prompt,
                        "opening": attack.opening,
                        "answer": answer,
                        "refused": reads_as_refusal(answer) if answer.strip() else None,
                    }
                )
        return kept
