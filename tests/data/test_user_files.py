"""Data as people bring it: every layout read alike, every fault named, nothing cut or dropped without a word."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmviz.data import column_tables, table, tables
from harmviz.data.columns import ReadOptions, read_options
from harmviz.data.prompts import PromptData, load_again, load_prompts
from harmviz.data.user_files import read_requests
from harmviz.errors import BadSetting, DataInvalid
from tests.worlds.data_files import THINGS, WRITERS, as_json, chat, delimited, jsonl, renamed, rows


def load(path: Path, **said: Any) -> PromptData:
    options = read_options(said.get("columns"), said.get("category"), said.get("drop_bad", False))
    return load_prompts(str(path), options=options)


def refused(path: Path, **said: Any) -> str:
    with pytest.raises(DataInvalid) as e:
        load(path, **said)
    assert not any(thing in str(e.value) for thing in THINGS), "a message shows text of the data"
    return str(e.value)


# -- layouts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", WRITERS)
def test_equal_content_gives_an_equal_digest_in_every_layout(name: str, tmp_path: Path) -> None:
    plain = load(jsonl(tmp_path / "plain.jsonl", rows()))
    data = load(WRITERS[name](tmp_path / name, rows()))
    assert data.hash == plain.hash
    assert data.categories == ("fib", "prank")


@pytest.mark.parametrize("name", [n for n in WRITERS if not n.endswith(".parquet")])
def test_the_same_packed_with_gzip(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, rows())
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    data = load(packed)
    assert data.hash == load(path).hash
    assert data.id == name.partition(".")[0]


@pytest.mark.parametrize("row_group", [7, 100])
def test_parquet(row_group: int, tmp_path: Path) -> None:
    plain = load(jsonl(tmp_path / "plain.jsonl", rows()))
    pq.write_table(pa.Table.from_pylist(rows()), tmp_path / "t.parquet", row_group_size=row_group)
    pq.write_table(pa.Table.from_pylist([chat(r) for r in rows()]), tmp_path / "chat.parquet", compression="zstd")
    assert load(tmp_path / "t.parquet").hash == load(tmp_path / "chat.parquet").hash == plain.hash


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    plain = load(jsonl(tmp_path / "plain.jsonl", rows()))
    whole = datasets.Dataset.from_list(rows())
    whole.save_to_disk(tmp_path / "one", num_shards=3)
    datasets.DatasetDict({"train": whole}).save_to_disk(tmp_path / "dict")
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(tmp_path / "two")
    for path in (tmp_path / "one", tmp_path / "dict", tmp_path / "two" / "test"):
        assert load(path).hash == plain.hash
        assert load(path).reading.format == "folder saved by datasets"
    assert "holds 2 splits; name one of them" in refused(tmp_path / "two")


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"_data_files": [{"filename": "../plain.jsonl"}]}'])
def test_a_folder_that_is_none_says_so(state: bytes, tmp_path: Path) -> None:
    jsonl(tmp_path / "plain.jsonl", rows())
    (tmp_path / "folder").mkdir()
    assert "none that `Dataset.save_to_disk` wrote" in refused(tmp_path / "folder")
    (tmp_path / "folder" / "state.json").write_bytes(state)
    assert "folder" in refused(tmp_path / "folder")


def test_an_input_follows_the_instruction(tmp_path: Path) -> None:
    found = [{"instruction": r["prompt"], "input": "In one line.", "output": r["response"]} for r in rows()]
    data = load(as_json(tmp_path / "a.json", found), category="prank")
    assert all(r.prompt.endswith(".\n\nIn one line.") for r in data.of("prank"))
    assert data.reading.layout == "instruction"


def test_of_a_conversation_the_last_answer_and_its_question_are_read(tmp_path: Path) -> None:
    before = (("system", "Be brief"), ("user", "Hello"), ("assistant", "Hi"))
    found = [chat(r, before=before) for r in rows()]
    for row in found[:3]:
        row["messages"].append({"role": "user", "content": "Thanks"})
    data = load(jsonl(tmp_path / "c.jsonl", found))
    assert data.hash == load(jsonl(tmp_path / "plain.jsonl", rows())).hash
    assert "52 rows with a turn of the system, which is not read" in data.notes
    assert "52 rows with other turns, of which only the last answer and its question are read" in data.notes


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ([], "holds no conversation"),
        ("hello", "holds no conversation"),
        ([{"role": "user", "content": "x"}], "has no answer of the assistant"),
        ([{"role": "assistant", "content": "x"}], "has no turn of the user"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}], "has no answer of the assistant"),
        ([{"role": "user"}, "x"], "holds no conversation"),
    ],
)
def test_a_broken_conversation_is_named(turns: Any, says: str, tmp_path: Path) -> None:
    found = [chat(r) for r in rows()]
    found[4]["messages"] = turns
    assert f"row 5: column 'messages' {says}" in refused(jsonl(tmp_path / "c.jsonl", found))


def test_parts_of_a_turn_are_joined(tmp_path: Path) -> None:
    found = [chat(r) for r in rows()]
    for row in found:
        row["messages"][0]["content"] = [{"type": "text", "text": row["messages"][0]["content"]}, {"type": "image"}]
    assert load(jsonl(tmp_path / "c.jsonl", found)).hash == load(jsonl(tmp_path / "p.jsonl", rows())).hash


def pairs(*, whole: bool) -> list[dict[str, Any]]:
    if whole:
        return [
            {
                "chosen": f"\n\nHuman: {r['prompt']}\n\nAssistant: Better not, number {i}.",
                "rejected": f"\n\nHuman: {r['prompt']}\n\nAssistant: {r['response']}",
            }
            for i, r in enumerate(rows(52, ("prank",)))
        ]
    return [
        {"prompt": r["prompt"], "chosen": f"Better not, number {i}.", "rejected": r["response"]}
        for i, r in enumerate(rows(52, ("prank",)))
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_of_pairs_it_must_be_said_which_answer_is_harmful(whole: bool, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "pairs.jsonl", pairs(whole=whole))
    message = refused(path, category="prank")
    assert "does not say which of them is harmful: --columns response=rejected reads" in message
    data = load(path, category="prank", columns="response=rejected")
    assert data.of("prank") == load(jsonl(tmp_path / "p.jsonl", rows(52, ("prank",)))).of("prank")
    assert data.reading.layout == "pairs"
    both = load(path, category="prank", columns="response=rejected,safe=chosen")
    assert {s: len(both.of(s)) for s in both.sets if s != "benign"} == {"prank": 52, "safe:prank": 52}


def test_a_safe_row_is_of_the_same_topic_and_one_without_a_flag_of_no_use(tmp_path: Path) -> None:
    found = [
        {
            "prompt": r["prompt"],
            "response": r["response"],
            "category": {"animals": i < 30, "privacy": i < 2},
            "is_safe": i >= 26,
        }
        for i, r in enumerate(rows())
    ]
    data = load(jsonl(tmp_path / "f.jsonl", found))
    assert {s: len(data.of(s)) for s in data.sets if s != "benign"} == {"animals": 26, "safe:animals": 4}
    assert "22 rows are not used: no harm type is flagged" in data.notes
    assert any(n.startswith("2 rows flag several harm types") for n in data.notes)
    assert data.left_out == {"privacy": "2 harmful rows, at least 24 are needed"}


@pytest.mark.parametrize("value", ["maybe", 2, [1], None])
def test_a_flag_that_is_none_is_named(value: Any, tmp_path: Path) -> None:
    found = [{**r, "is_safe": False} for r in rows()]
    found[3]["is_safe"] = value
    if value is None:  # nobody said so: not safe
        assert load(jsonl(tmp_path / "f.jsonl", found)).categories
    else:
        assert "row 4: column 'is_safe' is neither true nor false" in refused(jsonl(tmp_path / "f.jsonl", found))


# -- what is not recognised -------------------------------------------------------------------------------------------
def test_an_unknown_layout_lists_the_columns_and_a_mapping_that_reads_it(tmp_path: Path) -> None:
    path = delimited(
        tmp_path / "x.csv", renamed(rows(), category="kind", prompt="my question", response="what it said")
    )
    message = refused(path)
    assert "columns found: 'kind', 'my question', 'what it said'" in message
    assert "--columns 'prompt=my question,response=what it said' --category NAME" in message
    data = load(path, columns="prompt=my question,response=what it said", category="prank")
    assert len(data.of("prank")) == 52
    named = load(path, columns="category=kind,prompt=My Question,response=what it said")
    assert named.hash == load(jsonl(tmp_path / "p.jsonl", rows())).hash


@pytest.mark.parametrize(
    "names",
    [{"prompt": "goal", "response": "target"}, {"prompt": "instruction", "response": "output"}],
)
def test_without_a_harm_type_the_option_is_named(names: dict[str, str], tmp_path: Path) -> None:
    path = delimited(tmp_path / "x.csv", renamed(rows(52, ("prank",)), **names))
    assert "no column says the harm type; give one for all rows with --category NAME" in refused(path)
    assert load(path, category="Fraud & theft").categories == ("Fraud & theft",)


def test_requests_without_answers_cannot_score_a_model(tmp_path: Path) -> None:
    for name, column in (("a.csv", "Behavior"), ("b.csv", "prompt"), ("c.csv", "question")):
        path = delimited(tmp_path / name, renamed(rows(), prompt=column, category="SemanticCategory"))
        message = refused(path)
        assert "requests without answers, which cannot score a model" in message
        assert "--requests" in message


def test_a_first_row_taken_for_a_header_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("".join(f'prank,"{r["prompt"]}","{r["response"]}"\n' for r in rows()))
    assert "is the header missing?" in refused(path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("prompt", "must be use=column"),
        ("question=goal", "with uses among category, prompt"),
        ("prompt=", "must be use=column"),
        ("prompt=a,prompt=b", "twice"),
    ],
)
def test_columns_that_are_not_of_their_form(said: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        read_options(said, None, False)


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="give one of them"):
        read_options("category=a", "b", False)
    with pytest.raises(BadSetting, match="for data of your own"):
        load_prompts("builtin", options=ReadOptions(drop_bad=True))
    path = jsonl(tmp_path / "a.jsonl", rows())
    assert "--columns prompt=nothing: there is no such column; columns found" in refused(path, columns="prompt=nothing")


def test_names_of_columns_may_hold_commas() -> None:
    said = read_options("prompt=a, b,response=c=d, Safe = e", None, True)
    assert said.columns == {"prompt": "a, b", "response": "c=d", "safe": "e"}
    assert ReadOptions.of_json(said.as_json) == said
    assert said.as_arguments == ("--columns=prompt=a, b,response=c=d,safe=e", "--drop-bad")


# -- faults -----------------------------------------------------------------------------------------------------------
def faulty() -> list[Any]:
    found: list[Any] = rows()
    found[3] = {**found[3], "response": ""}
    found[9] = {**found[9], "prompt": None}
    return [*found, found[0], found[1]]


def test_all_faults_are_named_at_once_and_can_be_left_out(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "f.jsonl", faulty())
    message = refused(path)
    assert message.splitlines()[0].endswith("4 faults; mend such rows, or leave them out with --drop-bad")
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == ["row 4", "row 10", "row 53", "row 54"]
    data = load(path, drop_bad=True)
    assert (len(data.of("prank")), len(data.of("fib"))) == (24, 26)
    assert data.notes[0].startswith("4 of 54 rows are left out by --drop-bad: 2 × repeats another row")
    assert sum(data.reading.dropped.values()) == 4


def test_the_first_twenty_are_spelled_out_and_the_rest_counted(tmp_path: Path) -> None:
    found = [{**r, "response": ""} if i % 2 else r for i, r in enumerate(rows(60))]
    message = refused(jsonl(tmp_path / "f.jsonl", found))
    assert len(message.splitlines()) == 1 + 20 + 1
    assert message.splitlines()[-1] == "  and 40 more: 40 × column 'response' is empty or not text"


def test_faults_of_every_kind_come_together(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "f.jsonl", faulty())
    with path.open("a") as f:
        f.write('{"category": \n[1]\n{"category": "none", "prompt": "p", "response": "r"}\n')
    message = refused(path)
    for part in (
        "row 55: not JSON",
        "row 56: a JSON object is needed",
        "row 57: column 'category': the category is 'none'",
    ):
        assert part in message
    assert len(load(path, drop_bad=True).of("prank")) == 24


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_fields_that_need_quotes_are_not_cut(delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    lines = [delimiter.join((r["category"], r["prompt"], r["response"].replace(",", delimiter))) for r in rows()]
    path.write_text("\n".join([delimiter.join(("category", "prompt", "response")), *lines]))
    message = refused(path)
    assert "52 faults" in message
    assert "the header has 3; quote fields that hold" in message
    assert "row 2: " in message


def test_too_few_fields_and_marks_out_of_place(tmp_path: Path) -> None:
    path = delimited(tmp_path / "a.csv", rows())
    text = path.read_text()
    path.write_text(text + "prank,only a question\n")
    assert "2 fields, the header has 3" in refused(path)
    path.write_text(text + 'prank,"a" question,answer\n')
    assert "not CSV from here on" in refused(path)
    path.write_text(text + 'prank,question,"never closed\n')
    assert "not CSV from here on" in refused(path)
    path.write_text(text + ",,\n\n , ,\n")  # rows that hold nothing, as spreadsheets leave them
    assert load(path).hash == load(jsonl(tmp_path / "p.jsonl", rows())).hash


# -- files as a whole -------------------------------------------------------------------------------------------------
def test_a_spreadsheets_utf16(tmp_path: Path) -> None:
    path = delimited(tmp_path / "a.tsv", rows(), "\t")
    path.write_bytes(path.read_text().encode("utf-16"))
    assert load(path).hash == load(jsonl(tmp_path / "p.jsonl", rows())).hash


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"{", "not JSON"),
        ("a.json", b"3", "a JSON array of objects is needed, got int"),
        ("a.json", b"[" * 100_000, "nested too deep"),
        ("a.json", b'{"prompt": ["a"], "response": []}', "differ in length"),
        ("a.json", b'{"prompt": {"0": "a"}, "response": {"1": "b"}}', "name different rows"),
        ("a.json", b"[]", "no rows"),
        ("a.csv", b"prompt,Prompt ,response\na,b,c\n", "stands there more than once"),
        ("a.csv", b"prompt,,response\na,b,c\n", "column 2 has no name"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"x" * 1000, mtime=0)[:-20], "cannot be read"),
        ("a.parquet", b"PAR1nothingPAR1", "cannot be read as Parquet"),
        ("a.parquet", b"", "cannot be read as Parquet"),
    ],
)
def test_damaged_files(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in refused(tmp_path / name)


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (table, tables, column_tables):
        monkeypatch.setattr(module, "MAX_BYTES", 1 << 16)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b" " * (1 << 20)))
    assert "more than 65,536 bytes when unpacked" in refused(tmp_path / "a.jsonl.gz")
    # One long text, stored once and meant five thousand times.
    found = pa.table({"prompt": pa.array(["x" * 4000] * 5000).dictionary_encode(), "response": ["r"] * 5000})
    pq.write_table(found, tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").stat().st_size < 1 << 16
    assert "more than 65,536 bytes when unpacked" in refused(tmp_path / "b.parquet")
    monkeypatch.setattr(table, "MAX_ROWS", 10)
    for path in (jsonl(tmp_path / "c.jsonl", rows()), delimited(tmp_path / "c.csv", rows())):
        assert "has more than 10 rows" in refused(path)


def test_a_file_named_like_data_that_ships_has_another_id(tmp_path: Path) -> None:
    assert load(jsonl(tmp_path / "pyrit.jsonl", rows())).id == "pyrit-file"


# -- requests ---------------------------------------------------------------------------------------------------------
def test_requests_from_text_and_tables(tmp_path: Path) -> None:
    texts = [r["prompt"] for r in rows()]
    (tmp_path / "a.txt").write_text("\n".join([*texts[:3], "", texts[0]]))
    assert [(r.set, r.prompt, r.response) for r in read_requests(str(tmp_path / "a.txt")).rows] == [
        ("", text, "") for text in texts[:3]
    ]
    named = renamed(rows(), prompt="Behavior", category="SemanticCategory")
    for path in (delimited(tmp_path / "b.csv", named), jsonl(tmp_path / "c.jsonl", [chat(r) for r in rows()])):
        read = read_requests(str(path)).rows
        assert [r.prompt for r in read] == texts
        assert {r.set for r in read} == {"prank", "fib"}
    with pytest.raises(DataInvalid, match="does not exist"):
        read_requests(str(tmp_path / "none.txt"))
    with pytest.raises(DataInvalid, match="no columns are recognised"):
        read_requests(str(delimited(tmp_path / "d.csv", renamed(rows(), prompt="a", response="b"))))


# -- again ------------------------------------------------------------------------------------------------------------
def test_a_run_reads_its_data_again_as_it_did(tmp_path: Path) -> None:
    path = delimited(tmp_path / "x.csv", renamed(rows(), prompt="goal", response="b"))
    data = load(path, columns="response=b", category="prank", drop_bad=True)
    stored = json.loads(json.dumps({"id": data.id, "reading": data.reading.as_json}))
    assert load_again(str(path), stored).hash == data.hash
    assert load_again(None, {"id": "builtin"}).id == "builtin"
