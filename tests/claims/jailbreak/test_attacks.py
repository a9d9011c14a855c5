"""Jailbreak wrappers: what a file must be like, transforms that can be undone, and what a model is given."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmviz.claims.jailbreak.attacks import TRANSFORMS, Attack, choose_attacks, encode_attack, load_attacks
from harmviz.data.encoding import encode_prompt
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import DataInvalid
from tests.worlds.tiny import tokenizer

ROW: dict[str, Any] = {"id": "a", "name": "A", "description": "d", "template": "x {request} y"}


def written(folder: Path, *rows: Any) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return path


# -- those that ship --------------------------------------------------------------------------------------------------
def test_the_built_in_attacks_are_many_and_named_and_sourced() -> None:
    attacks = load_attacks()
    assert len(attacks) >= 10
    assert len({a.name for a in attacks}) == len({a.digest for a in attacks}) == len(attacks)
    assert [a.id for a in attacks if a.plain] == ["direct"]
    for a in attacks:
        assert a.plain or re.search(r"\d{4}", a.source), a.id
        assert re.fullmatch(r"[^\n]+[.)]", a.description), a.id
    assert {a.transform for a in attacks} == set(TRANSFORMS)
    assert all(any(getattr(a, part) for a in attacks) for part in ("system", "opening"))


def test_no_wrapper_reads_as_a_refusal_or_leaves_room_for_one() -> None:
    for a in load_attacks():
        assert not reads_as_refusal(a.opening), a.id
        assert len(a.template) + len(a.system) < 700, a.id


# -- files of the user's own ------------------------------------------------------------------------------------------
def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = written(
        tmp_path, ROW, "", {**ROW, "id": "b", "system": "s", "opening": "o", "transform": "base64", "source": "me"}
    )
    first, second = choose_attacks(str(path))
    assert (first.user_turn("r {request}"), first.opening, first.transform) == ("x r {request} y", "", "none")
    assert (second.system, second.opening, second.source) == ("s", "o", "me")
    assert Attack(**second.record()) == second


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({**ROW, "template": "no place"}, "exactly once, it holds it 0 times"),
        ({**ROW, "template": "{request} {request}"}, "exactly once, it holds it 2 times"),
        ({**ROW, "system": "{request}"}, "may stand in 'template' only"),
        ({**ROW, "transform": "rot13"}, "'transform' must be one of none, split, base64, spaced"),
        ({**ROW, "id": "a/../b"}, "'id' must be"),
        ({**ROW, "id": ""}, "'id' is empty"),
        ({**ROW, "name": 3}, "'name' must be text, got int"),
        ({**ROW, "opening": None}, "'opening' must be text, got NoneType"),
        ({**ROW, "description": "\ud800"}, "'description' must be text"),
        ({k: v for k, v in ROW.items() if k != "template"}, "'template' is missing"),
        ({**ROW, "prompt": "x"}, "unknown field 'prompt'"),
        (["a"], "a JSON object is needed, got list"),
        ("{nonsense", "not JSON"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: Any, says: str) -> None:
    path = written(tmp_path, {**ROW, "id": "fine"}, row)
    with pytest.raises(DataInvalid, match=f"mine.jsonl, row 2: .*{re.escape(says)}"):
        load_attacks(path)


def test_what_is_no_attack_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"row 2: repeats the id 'a'"):
        load_attacks(written(tmp_path, ROW, ROW))
    with pytest.raises(DataInvalid, match="no attacks"):
        load_attacks(written(tmp_path, "", " "))
    with pytest.raises(DataInvalid, match="does not exist"):
        load_attacks(tmp_path / "none.jsonl")
    (tmp_path / "mine.jsonl").write_bytes(b"\xff\xfd")
    with pytest.raises(DataInvalid, match="not UTF-8"):
        load_attacks(tmp_path / "mine.jsonl")


def test_attacks_are_chosen_by_id() -> None:
    assert choose_attacks(None) == load_attacks()
    assert [a.id for a in choose_attacks(" prefill,direct,prefill")] == ["prefill", "direct"]
    with pytest.raises(DataInvalid, match="no attack 'nonsense'; there are direct, prefill"):
        choose_attacks("direct,nonsense")
    with pytest.raises(DataInvalid, match="no attack is named"):
        choose_attacks(" ,")


# -- transforms -------------------------------------------------------------------------------------------------------
def undone(transform: str, text: str) -> str:
    if transform == "base64":
        return base64.b64decode(text).decode("utf-8")
    if transform == "spaced":
        return text[::2]
    if transform == "split":
        lines = text.split("\n")
        assert [line[:4] for line in lines] == ["a = ", "b = ", "c = "]
        return "".join(json.loads(line[4:]) for line in lines)
    return text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(sorted(TRANSFORMS)))
def test_every_transform_can_be_undone(text: str, transform: str) -> None:
    assert undone(transform, TRANSFORMS[transform](text)) == text


def test_pieces_are_cut_between_words_and_alike_in_length() -> None:
    assert TRANSFORMS["split"]("one two three four five six") == 'a = "one two "\nb = "three four "\nc = "five six"'


# -- encoding ---------------------------------------------------------------------------------------------------------
def test_the_bare_request_is_encoded_as_everywhere_else() -> None:
    (direct,) = choose_attacks("direct")
    for chat in (True, False):
        tok = tokenizer(chat)
        assert encode_attack(tok, direct, "How?") == encode_prompt(tok, "How?")


def test_a_system_message_has_its_own_turn_where_the_template_has_one() -> None:
    attack = Attack("a", "A", "d", "do {request}", system="be quick", opening="Sure")
    tok = tokenizer()
    wanted = "<|system|>be quick\n<|user|>do it\n<|assistant|>Sure"
    assert encode_attack(tok, attack, "it") == tok.encode(wanted, add_special_tokens=False)


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        (
            "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
            "{% endif %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}",
            "<assistant>",  # the template does not open the answer; a conversation shows how
        ),
        ("{% for m in messages %}{% if m['role'] == 'user' %}<user>{{ m['content'] }}{% endif %}{% endfor %}", ""),
    ],
    ids=["refuses", "leaves out"],
)
def test_without_a_system_turn_the_message_opens_the_users_turn(template: str, opening: str) -> None:
    attack = Attack("a", "A", "d", "do {request}", system="be quick")
    tok = tokenizer.__wrapped__(chat=False)
    tok.chat_template = template
    assert encode_attack(tok, attack, "it") == tok.encode(f"<user>be quick\n\ndo it{opening}", add_special_tokens=False)


def test_without_any_template_prompt_and_line_break() -> None:
    attack = Attack("a", "A", "d", "do {request}", system="be quick", opening="Sure")
    tok = tokenizer(chat=False)
    assert encode_attack(tok, attack, "it") == [
        *tok.encode("be quick\n\ndo it\n", add_special_tokens=True),
        *tok.encode("Sure", add_special_tokens=False),
    ]


def test_the_opening_comes_last_and_the_request_is_transformed() -> None:
    attack = Attack("a", "A", "d", "[{request}]", opening="Sure, here is", transform="spaced")
    tok = tokenizer()
    ids = encode_attack(tok, attack, "abc")
    tail = tok.encode("Sure, here is", add_special_tokens=False)
    assert ids[-len(tail) :] == tail
    assert ids == tok.encode("<|user|>[a b c]\n<|assistant|>Sure, here is", add_special_tokens=False)
