"""Attacks as named wrappers around a request: load, validate, put a request into one, encode it for a model.

A wrapper knows nothing of what is asked: those that ship with harmviz (``attacks.jsonl``) were written for it after the
published attack that each one names in ``source``, and hold no harmful detail. An attack is five texts: a ``system``
message, the user's turn as a ``template`` with exactly one ``{request}``, the ``opening`` that is put into the answer's
mouth, and the ``transform`` that the request goes through before it is put in. A file of the user's own has the same
fields.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmviz.data.tables import records
from harmviz.errors import DataInvalid, ModelUnavailable
from harmviz.models.chat import render, stands_in

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ATTACKS = Path(__file__).with_name("attacks.jsonl")
PLACE = "{request}"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_NEEDED = ("id", "name", "description", "template")


# -- what a request goes through --------------------------------------------------------------------------------------
def _split(text: str) -> str:
    """Three pieces named a, b and c, cut between words where there are enough; joined they are the text again."""
    words = re.findall(r"\S+\s*|^\s+", text)
    pieces = words if len(words) >= 3 else list(text)
    cuts = [round(i * len(pieces) / 3) for i in range(4)]
    parts = ["".join(pieces[a:b]) for a, b in pairwise(cuts)]
    return "\n".join(
        f"{name} = {json.dumps(part, ensure_ascii=False)}" for name, part in zip("abc", parts, strict=True)
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _spaced(text: str) -> str:
    return " ".join(text)


TRANSFORMS: dict[str, Callable[[str], str]] = {"none": str, "split": _split, "base64": _base64, "spaced": _spaced}


@dataclass(frozen=True)
class Attack:
    """One wrapper. ``source``: the paper it was written after; empty where there is none.

    Raises:
        ValueError: a field breaks the rules; the message names it and says what is allowed.
    """

    id: str
    name: str
    description: str
    template: str = field(repr=False)
    source: str = ""
    system: str = field(default="", repr=False)
    opening: str = field(default="", repr=False)
    transform: str = "none"

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, str) or any("\ud800" <= c <= "\udfff" for c in value):
                raise ValueError(f"{f.name!r} must be text, got {type(value).__name__}")
        for name in _NEEDED:
            if not getattr(self, name).strip():
                raise ValueError(f"{name!r} is empty")
        if not _ID.fullmatch(self.id):
            raise ValueError("'id' must be at most 40 of a-z, 0-9, _ and -, and begin with a letter or digit")
        if (n := self.template.count(PLACE)) != 1:
            raise ValueError(f"'template' must hold {PLACE} exactly once, it holds it {n} times")
        if PLACE in self.system + self.opening:
            raise ValueError(f"{PLACE} may stand in 'template' only")
        if self.transform not in TRANSFORMS:
            raise ValueError(f"'transform' must be one of {', '.join(TRANSFORMS)}")

    @property
    def plain(self) -> bool:
        """Whether this is the bare request: no attack, but what attacks are compared with."""
        return self.template.strip() == PLACE and not self.system and not self.opening and self.transform == "none"

    @property
    def digest(self) -> str:
        """Hash of everything that a model gets to see of it."""
        return hashlib.sha256(
            "\0".join((self.system, self.template, self.opening, self.transform)).encode()
        ).hexdigest()[:16]

    def user_turn(self, request: str) -> str:
        """The user's turn with the request in it."""
        return self.template.replace(PLACE, TRANSFORMS[self.transform](request))

    def record(self) -> dict[str, str]:
        """Its fields, as they stand in a file."""
        return asdict(self)


# -- files ------------------------------------------------------------------------------------------------------------
def load_attacks(path: Path = ATTACKS) -> tuple[Attack, ...]:
    """The attacks of a JSON-lines file, in its order.

    Raises:
        DataInvalid: no such file, not UTF-8, no attack in it, or a row breaks the rules; the message names the first
            such row.
    """
    if not path.is_file():
        raise DataInvalid(
            f"attack file {path} does not exist; give a .jsonl file, or ids of the attacks that ship with harmviz"
        )
    attacks: dict[str, Attack] = {}
    for number, row in records(path):
        try:
            attack = _attack(row)
        except ValueError as e:
            raise DataInvalid(f"{path}, row {number}: {e}") from e
        if attack.id in attacks:
            raise DataInvalid(f"{path}, row {number}: repeats the id {attack.id!r}; rename one of them")
        attacks[attack.id] = attack
    if not attacks:
        raise DataInvalid(f"{path}: no attacks; needed are the fields {', '.join(_NEEDED)}, one JSON object a line")
    return tuple(attacks.values())


def _attack(row: Mapping[str, Any]) -> Attack:
    """The attack of one row.

    Raises:
        ValueError: as ``Attack``, or a field is missing or unknown.
    """
    known = [f.name for f in fields(Attack)]
    if lacking := [n for n in _NEEDED if n not in row]:
        raise ValueError(f"{lacking[0]!r} is missing")
    if odd := [str(n) for n in row if n not in known]:
        raise ValueError(f"unknown field {odd[0][:40]!r}; known are {', '.join(known)}")
    return Attack(**row)


def choose_attacks(which: str | None) -> tuple[Attack, ...]:
    """All attacks that ship with harmviz (None), those with these comma-separated ids, or those of a .jsonl file.

    Raises:
        DataInvalid: an unknown id (the message lists those there are), none at all, or a broken file.
    """
    if which is None:
        return load_attacks()
    if which.endswith(".jsonl"):
        return load_attacks(Path(which).expanduser())
    known = {a.id: a for a in load_attacks()}
    ids = list(dict.fromkeys(part.strip() for part in which.split(",") if part.strip()))
    if unknown := [i for i in ids if i not in known]:
        raise DataInvalid(
            f"there is no attack {unknown[0]!r}; there are {', '.join(known)}, or give a .jsonl file of your own"
        )
    if not ids:
        raise DataInvalid(f"no attack is named; there are {', '.join(known)}")
    return tuple(known[i] for i in ids)


def given(record: Mapping[str, Any], request: str) -> list[tuple[str, str]]:
    """(what it is, its text) of everything that a model is given under the attack of this record, as a run stores it.

    Empty where the record is no attack.
    """
    try:
        attack = _attack(record)
    except (TypeError, ValueError):
        return []
    parts = (
        ("System message", attack.system),
        ("User", attack.user_turn(request)),
        ("Beginning of the answer", attack.opening),
    )
    return [(name, words) for name, words in parts if words]


# -- encoding ---------------------------------------------------------------------------------------------------------
def encode_attack(tokenizer: PreTrainedTokenizerBase, attack: Attack, request: str) -> list[int]:
    """Token ids of the attack with this request in it, up to where the model starts to answer: after the opening.

    As ``harmviz.data.encoding.encode_prompt`` does it for a bare request: the model's own chat template, or
    ``prompt\\n`` where it has none. A system message goes into the template's system turn. Where a model's template
    has none (it refuses the turn, or leaves its text out), the message becomes the beginning of the user's turn,
    followed by an empty line; likewise without a template.
    """
    user = attack.user_turn(request)
    opening = list(tokenizer.encode(attack.opening, add_special_tokens=False)) if attack.opening else []
    if not tokenizer.chat_template:
        return [*tokenizer.encode(_folded(attack.system, user) + "\n", add_special_tokens=True), *opening]
    text = _with_system(tokenizer, attack.system, user) if attack.system else None
    if text is None:
        text = render(tokenizer, [{"role": "user", "content": _folded(attack.system, user)}])
    return [*tokenizer.encode(text, add_special_tokens=False), *opening]


def _folded(system: str, user: str) -> str:
    return f"{system}\n\n{user}" if system else user


def _with_system(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> str | None:
    """The conversation with a system turn, or None where the template has no place for it."""
    try:
        text = render(tokenizer, [{"role": "system", "content": system}, {"role": "user", "content": user}])
    except ModelUnavailable:  # it refuses the turn
        return None
    return text if stands_in(system, text) else None
