"""Which requests the attacks are tried on: held out, so that no mask and no (q, p) was found on any of them.

Harmful requests are the mild ones that ship with harmviz (``builtin``), or the report prompts of the map run's own
data (``report``), or a reader's own (``own``), or several in turn, spread over harm types. Benign ones ship with
harmviz, or are a reader's own. A request that the run scored, protected or chose with is left out. Answers to mild
requests may be shown; those to all others never leave the process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harmviz.data.categories import BENIGN
from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.data.prompts import PromptData, PromptRow, load_again, read_builtin
from harmviz.data.splits import choose_rows, split_prompts
from harmviz.data.user_files import SHIPPED
from harmviz.errors import DataInvalid
from harmviz.models.assets import Say
from harmviz.runs import Run


@dataclass(frozen=True)
class Request:
    """One request. ``mild``: it ships with harmviz, so that answers to it may be shown. Its repr holds no text."""

    row: PromptRow
    mild: bool

    @property
    def category(self) -> str:
        """``benign``, or the harm type it asks for."""
        return self.row.set

    @property
    def harmful(self) -> bool:
        return self.row.set != "benign"

    @property
    def prompt(self) -> str:
        return self.row.prompt

    @property
    def id(self) -> str:
        """Of its normalised text: the cluster of every interval."""
        return self.row.prompt_id


@dataclass(frozen=True)
class Chosen:
    """The requests, harmful ones first. ``notes``: what a reader must know about the choice."""

    requests: tuple[Request, ...]
    notes: tuple[str, ...]


def choose_requests(
    run: Run,
    sources: Sequence[str],
    *,
    harmful: int,
    benign: int,
    seed: int,
    data: str | None = None,
    scored: frozenset[str] = frozenset(),
    own: OwnRequests | None = None,
    say: Say = lambda _: None,
) -> Chosen:
    """At most ``harmful`` and ``benign`` requests that the map run had no use of, in an order fixed by ``seed``.

    Args:
        sources: ``builtin``, ``report`` or both (``settings.check_sources``).
        data: the data set that the run was made on, where its id alone does not name it: a file of the user's own.
        scored: ids of further prompts that masks were found on.
        own: the requests of source ``own``.

    Raises:
        DataInvalid: none is left of a kind, ``data`` is not what the run was made on, or the run's own prompts are
            asked for and its data cannot be had again.
        AssetUnavailable: the fetched data set is not here and cannot be fetched.
    """
    rows, notes = data_of(run, data, say), list(own.notes) if own else []
    used = {*scored, *run.manifest["data"].get("scoring_prompts", ())}
    if rows is not None:
        used |= {
            prompt
            for prompt, role in split_prompts(rows, int(run.manifest["seeds"]["run"])).items()
            if role != "report"
        }
    else:
        notes.append(
            "validation prompts of the map run are not known here, only those it scored or protected with are left "
            "out; --data names its file"
        )
    groups: dict[tuple[str, str], list[PromptRow]] = defaultdict(list)
    for source in sources:
        for row in _harmful(source, run, rows, own):
            if row.prompt_id not in used:
                groups[source, row.set].append(row)
                used.add(row.prompt_id)  # a prompt that occurs in several types or sources is asked once
    chosen = _in_turn({key: choose_rows(rows, None, seed, per_prompt=1) for key, rows in groups.items()}, harmful)
    harmless = [*(PromptRow(BENIGN, prompt, "") for prompt in (own.benign if own else ())), *_builtin("benign")]
    kept = [r for r in harmless if r.prompt_id not in used]
    mild = {r.prompt_id for r in _builtin("benign")}
    chosen += [Request(r, mild=r.prompt_id in mild) for r in choose_rows(kept, benign, seed, per_prompt=1)]
    for kind, asked, n in (
        ("harmful", harmful, sum(r.harmful for r in chosen)),
        ("benign", benign, sum(not r.harmful for r in chosen)),
    ):
        if n == 0:
            raise DataInvalid(
                f"no {kind} request from {', '.join(sources)} is left that run {run.id} neither scored nor chose with; "
                "ask for other sources with --requests"
            )
        if n < asked:
            notes.append(f"{n} {kind} requests are held out, {asked} were asked for")
    return Chosen(tuple(chosen), tuple(notes))


def _harmful(source: str, run: Run, rows: PromptData | None, own: OwnRequests | None) -> list[PromptRow]:
    if source == OWN:
        if own is None:
            raise DataInvalid(f"requests {OWN!r} are those of a file of yours; name the file with --requests instead")
        return [PromptRow(category, prompt, "") for category, prompt in own.harmful]
    return _builtin("harmful") if source == "builtin" else _report(run, rows)


def _builtin(name: str) -> list[PromptRow]:
    return [PromptRow(r["category"] if name == "harmful" else "benign", r["prompt"], "") for r in read_builtin(name)]


def data_of(run: Run, source: str | None = None, say: Say = lambda _: None) -> PromptData | None:
    """The data set that the run was made on, or None where neither ``source`` nor its id names it.

    Raises:
        DataInvalid: ``source`` is another data set.
    """
    if source is None and run.manifest["data"]["id"] not in SHIPPED:
        return None
    data = load_again(source, run.manifest["data"], say=say)
    if data.hash == run.manifest["data"]["hash"]:
        return data
    if source is None:
        return None
    raise DataInvalid(
        f"data {source!r} is not what run {run.id} was made on ({run.manifest['data']['id']}); "
        "give that one with --data"
    )


def _report(run: Run, data: PromptData | None) -> list[PromptRow]:
    if data is None:
        raise DataInvalid(
            f"the report prompts of run {run.id} are asked for, but its data ({run.manifest['data']['id']}) is not at "
            "hand as the run used it; name its file with --data, or use --requests builtin"
        )
    return [PromptRow(r.set, r.prompt, "") for name in data.categories for r in data.of(name)]


def _in_turn(groups: dict[tuple[str, str], list[PromptRow]], limit: int) -> list[Request]:
    """One of each group after the other until the limit, so that harm types and sources weigh alike."""
    depth = max((len(rows) for rows in groups.values()), default=0)
    order = sorted(groups)
    rows = [groups[key][i] for i in range(depth) for key in order if i < len(groups[key])][:limit]
    mild = {r.prompt_id for r in _builtin("harmful")}
    return [Request(r, mild=r.prompt_id in mild) for r in rows]
