"""The worker: answers as ``generate`` gives them, what is measured beside them, failures, loading, nothing left."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harmviz.data.encoding import encode_prompt
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import OutOfMemory
from harmviz.generation import decode as decoding
from harmviz.generation.decode import Generation, decode, generate
from harmviz.generation.repetition import repeated_tokens
from harmviz.generation.variants import Variant
from harmviz.masks.apply import hash_weights
from harmviz.masks.mask import PruneMask
from harmviz.models.load import EMBEDDED, LoadedModel, load_model
from harmviz.worker import ModelKey, Pane, PaneView, Request, Worker
from tests.generation.test_text import BYTES
from tests.worlds.fabricated import REFERENCE
from tests.worlds.generation import random_mask
from tests.worlds.serving import PATIENCE, Gate, key, request, until
from tests.worlds.tiny import tiny_model


def directly(loaded: LoadedModel, asked: Request) -> list[Generation]:
    """What the library answers to the same request."""
    return generate(
        loaded,
        encode_prompt(loaded.tokenizer, asked.prompt),
        [Variant(p.name, p.mask, p.strength) for p in asked.panes],
        prefill_ids=loaded.tokenizer.encode(asked.opening, add_special_tokens=False),
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=asked.seed,
    )


def answered(worker: Worker, asked: Request) -> tuple[PaneView, ...]:
    ticket = worker.submit(asked)
    assert ticket.wait(PATIENCE)
    seen = ticket.snapshot()
    assert (seen.state, seen.error) == ("done", None)
    return seen.panes


def masks(tiny: LoadedModel) -> tuple[Pane, Pane]:
    return Pane("a", random_mask(tiny, 300)), Pane("b", random_mask(tiny, 300, seed=1), 0.7)


# -- answers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.9, "seed": 4, "top_p": 0.8}, {"opening": "Sure, here is"}])
def test_answers_are_those_of_generate(
    worker: Worker, tiny: LoadedModel, tiny_dir: Path, settings: dict[str, Any]
) -> None:
    asked = request(tiny_dir, *masks(tiny), **settings)
    for view, direct, pane in zip(answered(worker, asked), directly(tiny, asked), asked.panes, strict=True):
        assert (view.text, view.finished, len(view.tokens)) == (direct.text, direct.finished, len(direct.token_ids))
        assert "".join(view.tokens) == view.text
        assert (view.name, view.mask_digest, view.strength) == (direct.name, direct.mask_digest, direct.strength)
        assert view.n_weights == (pane.mask.n_weights if pane.mask else 0)
        assert view.repetition == repeated_tokens(direct.token_ids).share
        assert view.tokens_per_s > 0


def test_the_template_is_the_whole_input(worker: Worker, tiny: LoadedModel, tiny_dir: Path) -> None:
    ticket = worker.submit(request(tiny_dir, prompt="Hi", opening="Yes", max_new_tokens=1))
    assert ticket.wait(PATIENCE)
    written = ticket.snapshot().template
    assert written is not None
    assert (
        written.replace(" ", "") == "<|user|>Hi\n<|assistant|>Yes"
    )  # the tiny tokenizer sets blanks between characters


def test_two_sessions_at_once_get_what_each_gets_alone(worker: Worker, tiny: LoadedModel, tiny_dir: Path) -> None:
    """And never, in any snapshot, a token of the other's."""
    asked = [request(tiny_dir, pane, temperature=0.8, seed=i, max_new_tokens=40) for i, pane in enumerate(masks(tiny))]
    alone = [[g.text for g in directly(tiny, a)] for a in asked]
    assert alone[0] != alone[1]
    final: dict[tuple[int, int], list[str]] = {}
    wrong: list[str] = []

    def session(i: int) -> None:
        for turn in range(3):
            ticket = worker.submit(asked[i])
            while not ticket.finished:
                for pane, text in zip(ticket.snapshot().panes, alone[i], strict=True):
                    if not text.startswith(pane.text):
                        wrong.append(pane.text)
            final[i, turn] = [p.text for p in ticket.snapshot().panes]

    threads = [threading.Thread(target=session, args=(i,)) for i in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE)
    assert not wrong
    assert final == {(i, turn): alone[i] for i in (0, 1) for turn in range(3)}


def test_snapshots_while_streaming(worker: Worker, gate: Gate, tiny: LoadedModel, tiny_dir: Path) -> None:
    asked = request(tiny_dir, *masks(tiny), max_new_tokens=6)
    ticket = worker.submit(asked)
    assert gate.waiting.wait(PATIENCE)
    before = ticket.snapshot()
    assert (before.state, before.stage, before.position) == ("running", "reading the prompt", 0)
    assert all(p.tokens == () and p.surprise is None and p.finished is None for p in before.panes)
    for n in (1, 2, 3):
        gate.let(1)
        until(lambda n=n: len(ticket.snapshot().panes[0].tokens) == n)  # type: ignore[misc]
        seen = ticket.snapshot()
        assert (seen.state, seen.stage) == ("running", "writing")
        assert [len(p.tokens) for p in seen.panes] == [n, n, n]  # in step
        assert len(seen.panes[0].surprise or ()) == n
        assert seen.panes[0].perplexity == pytest.approx(math.exp(sum(seen.panes[0].surprise or ()) / n))
        assert [(p.surprise, p.perplexity, p.refusal) for p in seen.panes[1:]] == [(None, None, None)] * 2
        assert [p.repetition is None for p in seen.panes] == [n < 3] * 3
    assert before.panes[0].tokens == ()  # a snapshot does not change


def scripted(texts: Sequence[str]) -> Any:
    """Passes that write given bytes, whatever the model: one text per pane, an end token after it."""

    def make(_loaded: LoadedModel, _variants: Sequence[Variant]) -> Any:
        scripts = [[*BYTES.encode(t, add_special_tokens=False), 256] for t in texts]
        step = iter(range(10_000))

        def passes(ids: torch.Tensor) -> torch.Tensor:
            t = next(step)
            logits = torch.zeros(len(ids), 300)
            for k, script in enumerate(scripts):
                logits[k, script[min(t, len(script) - 1)]] = 30.0
            return logits

        return passes

    return make


@pytest.fixture(scope="module")
def bytes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose tokens are bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "bytes"
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=256,
            eos_token_id=256,
            bos_token_id=None,
        )
    ).save_pretrained(folder)
    BYTES.save_pretrained(folder)
    return folder


def scripted_views(
    worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch, *texts: str, n: int = 60
) -> list[PaneView]:
    monkeypatch.setattr(decoding, "make_passes", scripted(texts))
    empty = PruneMask({}, "control", "")
    worker.load(key(folder)).wait(PATIENCE)
    weight_hash = worker.state().weight_hash
    assert weight_hash is not None
    panes = [Pane(f"pane {k}", replace(empty, model_hash=weight_hash)) for k in range(1, len(texts))]
    return list(answered(worker, request(folder, *panes, max_new_tokens=n)))


def test_tokens_join_to_the_text_across_characters(
    worker: Worker, bytes_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = scripted_views(worker, bytes_dir, monkeypatch, "Grüße 🙂 東京", "a🙂", "ab")
    assert [v.text for v in views] == ["Grüße 🙂 東京", "a🙂", "ab"]
    assert views[1].tokens == ("a", "", "", "", "🙂")
    assert [v.finished for v in views] == ["eos"] * 3
    cut = scripted_views(worker, bytes_dir, monkeypatch, "aaa🙂", "a🙂b", n=3)
    assert [(v.text, v.tokens, v.finished) for v in cut] == [
        ("aaa", ("a", "a", "a"), "length"),
        ("a�", ("a", "", "�"), "length"),  # the flush belongs to the last token
    ]


def test_the_text_of_a_stopped_answer_is_whole(
    worker: Worker, bytes_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, make = Gate(), scripted(["a🙂bcdef"])
    monkeypatch.setattr(decoding, "make_passes", lambda *a: gate.guard(make(*a)))
    ticket = worker.submit(request(bytes_dir, max_new_tokens=60))
    gate.let(2)
    until(lambda: gate.arrived == 3)
    assert ticket.snapshot().panes[0].tokens == ("a", "")
    ticket.stop()
    gate.let(1)
    assert ticket.wait(PATIENCE)
    (view,) = ticket.snapshot().panes
    assert view.finished == "stopped"
    assert "".join(view.tokens) == view.text == "a�"
    assert len(view.tokens) == 3


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (("same text", "same text"), None),
        (("same text", "same test"), 7),
        (("longer text", "longer"), 6),  # ended earlier
        (("long", "long text"), 4),  # ended later
        (("x", ""), 0),
    ],
)
def test_first_difference(
    worker: Worker, bytes_dir: Path, monkeypatch: pytest.MonkeyPatch, texts: tuple[str, str], first: int | None
) -> None:
    views = scripted_views(worker, bytes_dir, monkeypatch, *texts)
    assert [v.text for v in views] == list(texts)
    assert [v.first_difference for v in views] == [None, first]
    steps = len(texts[0]) + 1 if first is None else first + 1  # the step of the end token counts too
    assert len(views[1].divergence) == steps
    assert views[1].divergence[:-1] == pytest.approx([0.0] * (steps - 1), abs=1e-6)
    assert (views[1].divergence[-1] > 1) == (first is not None)


def test_refusals(worker: Worker, bytes_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("I'm sorry, but I cannot help with that.", "Sure, the Rhine is one.", "")
    views = scripted_views(worker, bytes_dir, monkeypatch, *texts)
    assert [v.refusal for v in views] == [True, False, None]
    assert [reads_as_refusal(t) for t in texts[:2]] == [True, False]
    monkeypatch.setattr(decoding, "make_passes", scripted([" help with that."]))
    assert answered(worker, request(bytes_dir, opening="I cannot", max_new_tokens=60))[0].refusal is True


# -- what is measured -------------------------------------------------------------------------------------------------
def test_a_mask_at_strength_0_is_the_intact_model(worker: Worker, tiny: LoadedModel, tiny_dir: Path) -> None:
    intact, off = answered(worker, request(tiny_dir, replace(masks(tiny)[0], strength=0.0), temperature=0.8))
    assert off.tokens == intact.tokens
    assert off.first_difference is None
    assert off.surprise == intact.surprise
    assert off.perplexity == intact.perplexity
    assert off.divergence == pytest.approx([0.0] * len(off.divergence), abs=1e-6)
    assert off.n_weights == 300


@pytest.mark.parametrize("opening", ["", "Sure, "])
def test_surprise_and_divergence_are_the_intact_models(
    worker: Worker, tiny: LoadedModel, tiny_dir: Path, opening: str
) -> None:
    asked = request(tiny_dir, *masks(tiny), opening=opening, max_new_tokens=30, temperature=0.7, seed=2)
    views, direct = answered(worker, asked), directly(tiny, asked)
    tokenizer = tiny.tokenizer
    prompt = encode_prompt(tokenizer, asked.prompt)
    prefill = tokenizer.encode(opening, add_special_tokens=False)
    context = [*prompt, *prefill]
    steps = list(
        decode(
            tiny,
            prompt,
            [Variant(p.name, p.mask, p.strength) for p in asked.panes],
            prefill_ids=prefill,
            max_new_tokens=30,
            temperature=0.7,
            seed=2,
        )
    )
    for k, (view, answer) in enumerate(zip(views, direct, strict=True)):
        ids = torch.tensor([[*context, *answer.token_ids]])
        with torch.no_grad():
            logp = tiny.model(input_ids=ids).logits[0].log_softmax(-1)
        expected = [-float(logp[len(context) - 1 + t, token]) for t, token in enumerate(answer.token_ids)]
        assert view.surprise == pytest.approx(expected, abs=1e-5)
        assert view.perplexity == pytest.approx(math.exp(np.mean(expected)), rel=1e-4)
        parted = [i for i, s in enumerate(steps) if s.tokens[k] != s.tokens[0]]
        assert view.first_difference == (parted[0] if parted else None)
        assert view.divergence == tuple(s.divergence[k] for s in steps if s.divergence[k] is not None)
        if parted:
            assert len(view.divergence) == parted[0] + 1
    assert any(v.first_difference is not None for v in views)


def test_a_stopped_answer_is_measured_too(worker: Worker, gate: Gate, tiny: LoadedModel, tiny_dir: Path) -> None:
    ticket = worker.submit(request(tiny_dir, *masks(tiny)))
    gate.let(4)
    until(lambda: gate.arrived == 5)
    assert len(ticket.snapshot().panes[0].tokens) == 4
    ticket.stop()
    assert not ticket.finished
    gate.let(1)  # the step that had begun; no other follows
    assert ticket.wait(PATIENCE)
    seen = ticket.snapshot()
    assert (seen.state, seen.error) == ("stopped", None)
    assert [(len(p.tokens), p.finished) for p in seen.panes] == [(5, "stopped")] * 3
    assert [len(p.surprise or ()) for p in seen.panes] == [5] * 3
    assert all(p.perplexity is not None and p.refusal is not None for p in seen.panes)


def test_stopping_while_measuring(
    worker: Worker, tiny: LoadedModel, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends at once, and the measurement comes too late for the snapshot."""
    measuring, go_on = threading.Event(), threading.Event()
    from harmviz.generation import surprise

    real = surprise.surprises

    def slow(*args: Any, **kwargs: Any) -> Any:
        surprise = real(*args, **kwargs)
        measuring.set()
        assert go_on.wait(PATIENCE)
        return surprise

    monkeypatch.setattr(surprise, "surprises", slow)
    ticket = worker.submit(request(tiny_dir, *masks(tiny)))
    assert measuring.wait(PATIENCE)
    seen = ticket.snapshot()
    assert (seen.state, seen.stage) == ("measuring", "measuring surprise")
    assert all(p.finished for p in seen.panes)
    ticket.stop()
    assert ticket.finished
    go_on.set()
    until(lambda: worker.state().queue == 0)
    seen = ticket.snapshot()
    assert seen.state == "stopped"
    assert [p.surprise is None for p in seen.panes] == [False, True, True]


# -- failures ---------------------------------------------------------------------------------------------------------
def test_a_failing_load_is_reported_and_survived(
    worker: Worker, tiny: LoadedModel, tiny_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    ticket = worker.submit(request(tmp_path / "empty"))
    load = worker.load(key(tmp_path / "empty"))
    assert ticket.wait(PATIENCE)
    assert load.wait(PATIENCE)
    assert (ticket.snapshot().state, load.snapshot().state) == ("failed", "failed")
    assert "holds no config.json" in (ticket.snapshot().error or "")
    state = worker.state()
    assert (state.state, state.key, state.device) == ("failed", key(tmp_path / "empty"), None)
    assert state.error == ticket.snapshot().error
    asked = request(tiny_dir)
    assert answered(worker, asked)[0].text == directly(tiny, asked)[0].text
    assert worker.state().state == "ready"


def test_a_mask_of_another_model_is_an_error_of_its_request_only(
    worker: Worker, tiny: LoadedModel, tiny_dir: Path
) -> None:
    other = random_mask(tiny_model(seed=1), 5)
    bad = worker.submit(request(tiny_dir, Pane("x", other)))
    good = worker.submit(request(tiny_dir))
    assert good.wait(PATIENCE)
    seen = bad.snapshot()
    assert seen.state == "failed"
    assert "the mask was made for weights" in (seen.error or "")
    assert good.snapshot().state == "done"


def test_a_prompt_beyond_the_context_is_one_clear_line(worker: Worker, tiny_dir: Path) -> None:
    ticket = worker.submit(request(tiny_dir, prompt="a" * 2000))
    assert ticket.wait(PATIENCE)
    assert "fills" in (ticket.snapshot().error or "")
    assert "fault of harmviz" not in (ticket.snapshot().error or "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("it broke\nhere"), "RuntimeError: it broke here (a fault of harmviz)"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "memory ran out; "),
        (MemoryError(), "memory ran out; "),
        (OutOfMemory("too large"), "too large"),
    ],
)
def test_a_failing_step_fails_its_request_only(
    worker: Worker,
    tiny: LoadedModel,
    tiny_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    line: str,
) -> None:
    real, n_left = decoding.make_passes, [3]

    def breaking(loaded: LoadedModel, variants: Sequence[Variant]) -> Any:
        passes = real(loaded, variants)

        def step(ids: torch.Tensor) -> torch.Tensor:
            n_left[0] -= 1
            if not n_left[0]:
                raise error
            return passes(ids)

        return step

    monkeypatch.setattr(decoding, "make_passes", breaking)
    ticket = worker.submit(request(tiny_dir, *masks(tiny)))
    after = worker.submit(request(tiny_dir))
    assert after.wait(PATIENCE)
    seen = ticket.snapshot()
    assert seen.state == "failed"
    assert (seen.error or "").startswith(line)
    assert [(len(p.tokens), p.finished, p.surprise is None) for p in seen.panes] == [
        (2, "stopped", False),
        (2, "stopped", True),
        (2, "stopped", True),
    ]
    assert after.snapshot().state == "done"
    assert str(error) == "" or str(error) not in caplog.text  # where, not what: a message may quote the prompt


# -- the model --------------------------------------------------------------------------------------------------------
class Watched:
    """Stands in for ``load_model``: remembers every model weakly, and how many were alive when each was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        from harmviz.models import load as models

        self._real = models.load_model
        self.loaded: list[weakref.ref[LoadedModel]] = []
        self.modules: list[weakref.ref[torch.nn.Module]] = []
        self.alive: list[int] = []
        monkeypatch.setattr(models, "load_model", self)

    def n_alive(self) -> int:
        gc.collect()
        return sum(ref() is not None for ref in [*self.loaded, *self.modules]) // 2

    def __call__(self, name: str, **options: Any) -> LoadedModel:
        self.alive.append(self.n_alive())
        loaded = self._real(name, **options)
        self.loaded.append(weakref.ref(loaded))
        self.modules.append(weakref.ref(loaded.model))
        return loaded


def test_loading_ahead(worker: Worker, tiny: LoadedModel, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    assert worker.state().state == "none"
    ticket = worker.load(key(tiny_dir))
    assert ticket.wait(PATIENCE)
    assert (ticket.snapshot().state, ticket.snapshot().panes) == ("done", ())
    state = worker.state()
    assert (state.state, state.key, state.device, state.dtype) == ("ready", key(tiny_dir), "cpu", "float32")
    assert state.memory_bytes == 4 * tiny.n_parameters
    assert state.weight_hash == tiny.weight_hash
    answered(worker, request(tiny_dir))
    assert len(watched.loaded) == 1  # not loaded again


def test_the_loaders_words_are_the_stage(worker: Worker, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harmviz.models import load as models

    spoken, go_on, real = threading.Event(), threading.Event(), models.load_model

    def slow(name: str, *, say: Any, **options: Any) -> LoadedModel:
        say("reading 3 KB of weights")
        spoken.set()
        assert go_on.wait(PATIENCE)
        return real(name, **options)

    monkeypatch.setattr(models, "load_model", slow)
    stopped, other = worker.submit(request(tiny_dir)), worker.submit(request(tiny_dir))
    assert spoken.wait(PATIENCE)
    assert (stopped.snapshot().state, stopped.snapshot().stage) == ("loading", "reading 3 KB of weights")
    assert (worker.state().state, worker.state().stage) == ("loading", "reading 3 KB of weights")
    assert other.snapshot().position == 1
    stopped.stop()
    assert stopped.snapshot().state == "stopped"  # the page is free at once; the loading goes on for the next
    go_on.set()
    assert other.wait(PATIENCE)
    assert other.snapshot().state == "done"
    assert stopped.snapshot().panes[0].tokens == ()


def test_unloading_frees_the_model(
    worker: Worker, tiny: LoadedModel, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    ticket = worker.submit(request(tiny_dir, *masks(tiny)))
    worker.unload()  # in line: the request is served first
    until(lambda: worker.state().queue == 0)
    assert ticket.snapshot().state == "done"
    assert worker.state().state == "none"
    assert len(watched.loaded) == 1
    assert watched.n_alive() == 0


def test_one_model_at_a_time(
    worker: Worker, tiny: LoadedModel, tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tiny_model("qwen2")
    second.model.save_pretrained(tmp_path / "second")
    second.tokenizer.save_pretrained(tmp_path / "second")
    second = load_model(str(tmp_path / "second"), device="cpu")  # its tokenizer as it comes back from disk
    watched = Watched(monkeypatch)
    tickets = [worker.submit(request(folder)) for folder in (tiny_dir, tmp_path / "second", tiny_dir)]
    other_dtype = worker.submit(replace(request(tiny_dir), model=ModelKey(str(tiny_dir), "bfloat16", "cpu")))
    assert other_dtype.wait(PATIENCE)
    assert watched.alive == [0, 0, 0, 0]
    until(lambda: worker.state().queue == 0)
    assert watched.n_alive() == 1
    assert worker.state().dtype == "bfloat16"
    texts = [ticket.snapshot().panes[0].text for ticket in tickets]
    assert texts[0] == texts[2] == directly(tiny, request(tiny_dir))[0].text
    assert texts[1] == directly(second, request(tiny_dir))[0].text


def test_a_failed_request_does_not_hold_the_model(
    worker: Worker, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)

    def broken(*_: object) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(decoding, "make_passes", broken)
    ticket = worker.submit(request(tiny_dir))
    worker.unload()
    until(lambda: worker.state().queue == 0)
    assert ticket.snapshot().state == "failed"
    assert watched.n_alive() == 0


def test_weights_are_untouched_whatever_happened(worker: Worker, gate: Gate, tiny: LoadedModel, tiny_dir: Path) -> None:
    worker.load(key(tiny_dir)).wait(PATIENCE)
    loaded = worker._loaded
    assert loaded is not None
    before = hash_weights(loaded)
    assert before == hash_weights(tiny)
    a, b = masks(tiny)
    stopped, failed, done = (
        worker.submit(r)
        for r in (
            request(tiny_dir, a, b),
            request(tiny_dir, Pane("x", random_mask(tiny_model(seed=1), 5))),
            request(tiny_dir, b),
        )
    )
    gate.let(3)
    until(lambda: len(stopped.snapshot().panes[0].tokens) == 3)
    assert hash_weights(loaded) == before  # between two steps of a running request too
    stopped.stop()
    gate.let(1000)
    assert done.wait(PATIENCE)
    assert [j.snapshot().state for j in (stopped, failed, done)] == ["stopped", "failed", "done"]
    until(lambda: worker.state().queue == 0)
    assert hash_weights(loaded) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in loaded.model.modules())


@pytest.mark.slow
def test_the_reference_mask_on_the_embedded_model(worker: Worker) -> None:
    from harmviz.runs import open_run

    mask = PruneMask.load(open_run(REFERENCE).masks()["headline-contrastive"])
    asked = Request(
        ModelKey(EMBEDDED),
        "Tell me how to be rude to a waiter.",
        (Pane("intact"), Pane("pruned", mask), Pane("off", mask, 0.0)),
        opening="Sure, here is",
        max_new_tokens=32,
    )
    intact, pruned, off = answered(worker, asked)
    assert pruned.text != intact.text
    assert pruned.first_difference is not None
    assert pruned.n_weights == mask.n_weights
    assert off.text == intact.text
    assert off.first_difference is None
    assert off.surprise == intact.surprise
    assert all(p.surprise is not None and len(p.surprise) == len(p.tokens) for p in (intact, pruned, off))
    loaded = worker._loaded
    assert loaded is not None
    assert mask.model_hash == loaded.weight_hash
