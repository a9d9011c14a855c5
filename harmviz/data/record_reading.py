"""From the records of a table to rows by set: one layout applied, faults collected, what is left out counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from harmviz.data.categories import BENIGN, SAFE, Spellings, read_category, sounds_harmless, tidy
from harmviz.data.cells import MISSING, Unusable, text_of
from harmviz.data.faults import Fault
from harmviz.data.layouts import Layout, truth
from harmviz.data.turns import Exchange, exchange, turns_of
from harmviz.errors import DataInvalid


class NamedRow(NamedTuple):
    """A (prompt, response) pair and the set it belongs to; ``response`` is empty where a request stands alone."""

    set: str
    prompt: str
    response: str


class RecordReader:
    """Reads records of one layout.

    Attributes:
        faults: what is wrong, in the order of the rows.
        unused: why a row that is in order is not used → how many.
        counts: other things to tell of → how many rows: system turns, several flags…
        harmless: names read as benign. doubtful: names of harm types that sound harmless.
    """

    def __init__(self, layout: Layout, *, requests: bool = False):
        self.layout, self.requests = layout, requests
        self.faults: list[Fault] = []
        self.unused: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.harmless: dict[str, None] = {}
        self.doubtful: dict[str, None] = {}
        self.spellings = Spellings()
        self._places: dict[NamedRow, int] = {}

    def read(self, records: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[NamedRow]:
        """The rows of all usable records. No row comes twice: a repeated one is a fault."""
        for number, record in records:
            try:
                rows = list(self._rows(record))
            except Unusable as e:
                self.faults.append(Fault(number, e.kind, e.detail))
                continue
            for row in rows:
                first = self._places.setdefault(row, number)
                if first == number:
                    yield row
                else:
                    detail = f"repeats row {first}; remove one of them"
                    self.faults.append(Fault(number, "repeats another row", detail))
                    break

    # -- one record ---------------------------------------------------------------------------------------------------
    def _rows(self, record: dict[str, Any]) -> Iterator[NamedRow]:
        sets = self._sets(record)
        prompt, response = self._texts(record)
        if not sets:
            return
        self.counts["several harm types flagged"] += len(sets) > 1
        for name in sets:
            yield NamedRow(name, prompt, response)
        if (column := self.layout.uses.get("safe")) is not None and not self.requests:
            answer = self._answer(record, column)
            for name in sets:
                if name != BENIGN and not name.startswith(SAFE):
                    yield NamedRow(SAFE + name, prompt, answer)

    def _texts(self, record: dict[str, Any]) -> tuple[str, str]:
        """(prompt, response), the response empty where requests are read."""
        uses = self.layout.uses
        if "messages" in uses:
            found = self._exchange(record, uses["messages"])
            prompt = text_of(found.prompt, uses["messages"], "has no turn of the user")
            return prompt, "" if self.requests else text_of(
                found.response, uses["messages"], "has no answer of the assistant"
            )
        if "prompt" in uses:
            cell = record.get(uses["prompt"], MISSING)
            turns = None if isinstance(cell, str) else turns_of(cell)
            prompt = text_of(exchange(turns).prompt if turns else cell, uses["prompt"])
        else:
            prompt = text_of(
                self._exchange(record, uses["response"]).prompt, uses["response"], "has no turn of the user"
            )
        if (extra := record.get(uses.get("input", ""))) and isinstance(extra, str) and extra.strip():
            prompt = f"{prompt}\n\n{text_of(extra, uses['input'])}"
        return prompt, "" if self.requests else self._answer(record, uses["response"])

    def _answer(self, record: dict[str, Any], column: str) -> str:
        """The answer in a column: a text, or the last one of the conversation that it holds."""
        cell = record.get(column, MISSING)
        whole = "prompt" not in self.layout.uses or not isinstance(cell, str)
        turns = turns_of(cell) if whole and cell is not MISSING else None
        return text_of(exchange(turns).response if turns else cell, column)

    def _exchange(self, record: dict[str, Any], column: str) -> Exchange:
        if column not in record:
            raise Unusable(f"column {column!r} is missing")
        turns = turns_of(record[column])
        if turns is None:
            raise Unusable(f"column {column!r} holds no conversation (turns with role and content, or from and value)")
        found = exchange(turns)
        self.counts["with a turn of the system, which is not read"] += found.system
        self.counts["with other turns, of which only the last answer and its question are read"] += found.earlier
        return found

    # -- its sets -----------------------------------------------------------------------------------------------------
    def _sets(self, record: dict[str, Any]) -> list[str]:
        """The sets the record belongs to; none where it is in order and of no use."""
        names = self._names(record)
        if names is None:
            return [""] if self.requests else []
        sets = [self.spellings.of(self._set(name)) for name in names]
        if "is_safe" not in self.layout.uses:
            return list(dict.fromkeys(sets))
        column = self.layout.uses["is_safe"]
        safe = truth(record.get(column, "?"))
        if safe is None:
            raise Unusable(f"column {column!r} is neither true nor false")
        if not safe and BENIGN in sets:
            raise Unusable(f"called {BENIGN}, and not safe by {column!r}")
        topics = [SAFE + s if safe and s != BENIGN and not s.startswith(SAFE) else s for s in sets]
        return list(dict.fromkeys(topics))

    def _names(self, record: dict[str, Any]) -> list[str] | None:
        """Harm types as written; None where none is flagged."""
        if self.layout.category is not None:
            return [self.layout.category]
        if self.layout.flags:
            flagged: Sequence[str] = [flag for flag in self.layout.flags if truth(record.get(flag))]
        else:
            column = self.layout.uses.get("category")
            if column is None:
                return None
            cell = record.get(column, MISSING)
            if isinstance(cell, dict):
                if unclear := [k for k, v in cell.items() if truth(v) is None]:
                    raise Unusable(f"{len(unclear)} flags in {column!r} are neither true nor false")
                flagged = [str(name) for name, value in cell.items() if truth(value)]
            elif isinstance(cell, list) and all(isinstance(name, str) for name in cell):
                flagged = cell
            elif self.requests and (cell is MISSING or cell is None or cell == ""):
                return None
            else:
                return [text_of(cell, column)]
        if not flagged:
            if not self.requests:
                self.unused["no harm type is flagged"] += 1
            return None
        return list(flagged)

    def _set(self, name: str) -> str:
        try:
            found = read_category(name)
        except DataInvalid as e:
            column = self.layout.uses.get("category", "category")
            raise Unusable(f"column {column!r} names no harm type", f"column {column!r}: {e}") from None
        if found == BENIGN and tidy(name) != BENIGN:
            self.harmless.setdefault(tidy(name))
        elif found != BENIGN and sounds_harmless(found.removeprefix(SAFE)):
            self.doubtful.setdefault(found.removeprefix(SAFE))
        return found
