"""The recorded scene: answers to mild requests, token by token, so that they can be shown where no model is loaded.

``results/transcripts.jsonl`` of a scene holds one line a request: the intact model, the mask and the random control at
each recorded strength, as the panes of the Playground show them. Nothing here loads torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harmviz.errors import RunIncompatible
from harmviz.judges.turning_away import turns_away
from harmviz.runs import Run
from harmviz.worker import PaneView, Snapshot

FILE = "results/transcripts.jsonl"
FORMAT = 1
#: Who answers, in the order of the panes, and under which name a scene stores the masks of the last two.
ARMS = ("intact", "mask", "random")
MASK, RANDOM = "scene", "scene.random"


@dataclass(frozen=True)
class Recorded:
    """One request and its answers. ``reads``: intact and random comply, the mask turns the request away (it declines,
    or answers something else), and the model asked directly declines.

    ``panes`` are in the order of ``ARMS``, then of strength; the intact model has one. Its repr holds no text.
    """

    id: str
    category: str
    prompt: str = field(repr=False)
    opening: str = field(repr=False)
    max_new_tokens: int
    declines_directly: bool
    reads: bool
    template: str = field(repr=False)
    panes: tuple[tuple[str, PaneView], ...] = field(repr=False)

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths at which the mask was recorded, ascending."""
        return tuple(sorted(view.strength for arm, view in self.panes if arm == "mask"))

    def snapshot(self, strength: float = 1.0) -> Snapshot | None:
        """The three panes at this strength, as a live comparison that has ended; None where it was not recorded.

        At strength 0 all three are the intact model.
        """
        intact = next(view for arm, view in self.panes if arm == "intact")
        views = [intact]
        for arm in ARMS[1:]:
            recorded = next((v for a, v in self.panes if a == arm and math.isclose(v.strength, strength)), None)
            if recorded is None:
                return None
            views.append(recorded)
        return Snapshot("done", 0, "recorded", 0.0, self.template, tuple(views), None)


def to_lines(records: Sequence[Recorded]) -> bytes:
    """The records as JSON lines. Infinite numbers, which JSON cannot say, become the largest float."""
    lines = []
    for record in records:
        panes = [{"arm": arm, **asdict(view)} for arm, view in record.panes]
        entry = {"format": FORMAT, **{k: v for k, v in vars(record).items() if k != "panes"}, "panes": panes}
        lines.append(json.dumps(_finite(entry), ensure_ascii=False, allow_nan=False, sort_keys=True))
    return ("\n".join(lines) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return round(min(max(value, -1e300), 1e300), 6)
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def read_records(run: Run) -> tuple[Recorded, ...]:
    """The recorded requests of a scene, the one that reads best first.

    Raises:
        RunIncompatible: the run has no transcripts, or they are damaged.
    """
    path = run.file(FILE)
    try:
        records = [_record(json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return tuple(sorted(records, key=lambda r: not r.reads))
    except (ValueError, KeyError, TypeError, OSError, StopIteration) as e:
        raise RunIncompatible(
            f"{path} cannot be read ({type(e).__name__}: {e}); restore the run, or compute the scene again"
        ) from e


def _record(entry: dict[str, Any]) -> Recorded:
    if entry["format"] != FORMAT:
        raise ValueError(f"format {entry['format']!r}, this version reads {FORMAT}")
    texts = {k: str(entry[k]) for k in ("id", "category", "prompt", "opening", "template")}
    panes, directly = tuple((str(p["arm"]), _view(p)) for p in entry["panes"]), bool(entry["declines_directly"])
    if {arm for arm, view in panes if view.strength == 1.0} < set(ARMS):
        raise ValueError("a pane is missing")
    # Told from the texts, not from what an older reading of them has stored.
    reads = reads_well(panes, texts["prompt"], texts["opening"], declines_directly=directly)
    record = Recorded(
        **texts, max_new_tokens=int(entry["max_new_tokens"]), declines_directly=directly, reads=reads, panes=panes
    )
    if record.snapshot(max(record.strengths)) is None:
        raise ValueError("a pane is missing")
    return record


def _view(entry: dict[str, Any]) -> PaneView:
    surprise = entry["surprise"]
    return PaneView(
        name=str(entry["name"]),
        n_weights=int(entry["n_weights"]),
        strength=float(entry["strength"]),
        mask_digest=_optional(entry["mask_digest"], str),
        tokens=tuple(map(str, entry["tokens"])),
        text=str(entry["text"]),
        surprise=None if surprise is None else tuple(map(float, surprise)),
        first_difference=_optional(entry["first_difference"], int),
        divergence=tuple(map(float, entry["divergence"])),
        tokens_per_s=float(entry["tokens_per_s"]),
        finished=_optional(entry["finished"], str),
        perplexity=_optional(entry["perplexity"], float),
        repetition=_optional(entry["repetition"], float),
        refusal=_optional(entry["refusal"], bool),
    )


def _optional(value: Any, kind: Any) -> Any:
    return None if value is None else kind(value)


def reads_well(panes: Sequence[tuple[str, PaneView]], prompt: str, opening: str, *, declines_directly: bool) -> bool:
    """Whether a room sees it: asked directly the model declines; with words put into its mouth it complies, and so does
    the random control; with the mask at full strength it turns the request away (``judges.turning_away``)."""
    full = {arm: view.text for arm, view in panes if view.strength == 1.0}
    away = {arm: turns_away(prompt, text, opening) for arm, text in full.items()}
    return declines_directly and away["mask"] and not away["intact"] and not away["random"]
