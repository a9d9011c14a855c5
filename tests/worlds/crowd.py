"""A lecture hall: many visitors who ask one worker at once, each for something of their own, over and over."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harmviz.data.encoding import encode_prompt
from harmviz.generation.decode import generate
from harmviz.generation.variants import Variant
from harmviz.masks.apply import pruned
from harmviz.models.load import LoadedModel
from harmviz.worker import ModelKey, Pane, Request, Visitor, Worker
from tests.worlds.generation import random_mask

PROMPTS = ("Name a river.", "What is a cloud?", "Count to five.", "Why is the sky blue?", "Say hello in French.")


#: What is pruned, by a third: enough in one place that it is read in the answers.
PLACE = "layers.1.mlp.down_proj"


def wishes(loaded: LoadedModel, key: ModelKey, n: int, *, max_new_tokens: int) -> list[Request]:
    """n requests, each with two random masks of its own; every fifth differs in its masks alone."""
    n_weights = sum(m.size for m in loaded.table if PLACE in m.name) // 3
    return [
        Request(
            key,
            PROMPTS[i % len(PROMPTS)],
            (
                Pane("intact"),
                Pane("first", random_mask(loaded, n_weights, seed=2 * i, only=PLACE)),
                Pane("second", random_mask(loaded, n_weights, seed=2 * i + 1, only=PLACE)),
            ),
            max_new_tokens=max_new_tokens,
            temperature=1.0,
            seed=i % len(PROMPTS),
        )
        for i in range(n)
    ]


def alone(loaded: LoadedModel, asked: Request) -> tuple[str, ...]:
    """What the library answers to this request where nobody else asks."""
    answers = generate(
        loaded,
        encode_prompt(loaded.tokenizer, asked.prompt),
        [Variant(p.name, p.mask, p.strength) for p in asked.panes],
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        seed=asked.seed,
    )
    return tuple(answer.text for answer in answers)


def resident_bytes() -> int:
    """Memory of this process that lies in main memory."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


@dataclass
class Seen:
    """What a crowd met. ``waits``: seconds to the first moment of service; ``memory``: (seconds, bytes)."""

    waits: list[float] = field(default_factory=list)
    services: list[float] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    toggles: int = 0

    @property
    def p95_wait(self) -> float:
        return sorted(self.waits)[int(0.95 * len(self.waits))]

    def growth(self) -> int:
        """Bytes by which memory grew over the last half: the last tenth of the samples against the tenth at half."""
        sizes = [size for _, size in self.memory]
        tenth, half = max(1, len(sizes) // 10), len(sizes) // 2
        return _median(sizes[-tenth:]) - _median(sizes[half : half + tenth])


def _median(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]


def crowd(
    worker: Worker,
    asked: Sequence[Request],
    expected: Sequence[tuple[str, ...]],
    *,
    visitors: int,
    seconds: float,
    toggles: int,
    patience: float,
) -> Seen:
    """Lets so many visitors ask for so long; beside them the weights are zeroed in place and restored ``toggles``
    times."""
    seen, lock, end = Seen(), threading.Lock(), time.monotonic() + seconds
    faults: list[BaseException] = []

    def visit(name: str) -> None:
        draw, own = random.Random(name), Visitor(name)
        while time.monotonic() < end:
            i = draw.randrange(len(asked))
            began = time.monotonic()
            ticket, served = worker.submit(asked[i], own), None
            while not ticket.finished and time.monotonic() < began + patience:
                if served is None and ticket.snapshot().state not in ("queued", "loading"):
                    served = time.monotonic()
                ticket.ended.wait(0.05)
            snapshot, now = ticket.snapshot(), time.monotonic()
            with lock:
                if snapshot.state != "done":
                    seen.wrong.append(f"{name}: {snapshot.state} {snapshot.stage} {snapshot.error}")
                elif tuple(pane.text for pane in snapshot.panes) != expected[i]:
                    seen.wrong.append(f"{name}: another answer than alone to request {i}")
                seen.answered[name] = seen.answered.get(name, 0) + 1
                seen.toggles += sum(pane.mask is not None for pane in asked[i].panes)
                seen.waits.append((served or now) - began)
                seen.services.append(now - (served or now))

    def toggle() -> None:
        masks = [pane.mask for request in asked for pane in request.panes if pane.mask is not None]
        for n in range(toggles):
            loaded = worker._loaded
            assert loaded is not None
            with pruned(loaded, masks[n % len(masks)]):
                pass
            seen.toggles += 1
            time.sleep(min(0.05, 0.5 * seconds / toggles))

    def guarded(work: object, *arguments: object) -> None:
        try:
            work(*arguments)  # type: ignore[operator]
        except BaseException as e:
            faults.append(e)
            raise

    threads = [threading.Thread(target=guarded, args=(visit, f"visitor {k}")) for k in range(visitors)]
    threads.append(threading.Thread(target=guarded, args=(toggle,)))
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.memory.append((time.monotonic() - began, resident_bytes()))
        threads[0].join(min(1.0, seconds / 40))
        time.sleep(0.01)
    assert not faults, faults
    return seen
