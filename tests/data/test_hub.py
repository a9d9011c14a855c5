"""Data sets on the hub, from a stand-in on this machine: which table, which revision, and what is said without one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmviz.data.prompts import load_prompts
from harmviz.errors import DataInvalid
from tests.worlds.data_files import delimited, jsonl, rows

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers what the hub's client asks of a data set: its files, and the files."""

    folder: Path

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = [unquote(p) for p in self.path.split("?")[0].strip("/").split("/")]
        if parts[:2] == ["api", "datasets"]:
            repo, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
            root = self.folder / repo
            if not root.is_dir() or revision not in ("main", "v1", COMMIT):
                code = "RepoNotFound" if not root.is_dir() else "RevisionNotFound"
                self.send_response(404)
                self.send_header("X-Error-Code", code)
                self.end_headers()
                return
            names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
            self._send(
                json.dumps({"id": repo, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}).encode(),
                body=body,
            )
            return
        path = self.folder / "/".join(parts[1:3]) / "/".join(parts[5:])
        self._send(path.read_bytes(), body=body)

    def _send(self, content: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a hub: owner/name/files."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Hub,), {"folder": folder}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield folder
    server.shutdown()
    server.server_close()


def repo(hub: Path, name: str) -> Path:
    folder = hub / name
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("# a data set")
    return folder


def test_the_one_table_is_read_whole(hub: Path, tmp_path: Path) -> None:
    folder, found = repo(hub, "some-one/mild"), rows()
    for i, part in enumerate((found[:20], found[20:])):
        pq.write_table(pa.Table.from_pylist(part), folder / "data" / f"train-{i:05d}-of-00002.parquet")
    plain = load_prompts(str(jsonl(tmp_path / "plain.jsonl", found)))
    for source in ("hub:some-one/mild", "hub:some-one/mild@v1"):
        data = load_prompts(source)
        assert data.hash == plain.hash
        assert data.id == "some-one-mild"
        assert data.notes[0].startswith(f"data set some-one/mild of the hub at {COMMIT}: data/train-00000")


def test_of_several_tables_one_is_named(hub: Path, tmp_path: Path) -> None:
    folder = repo(hub, "some-one/many")
    jsonl(folder / "train.jsonl", rows())
    delimited(folder / "data" / "test.csv", rows(30))
    with pytest.raises(DataInvalid, match=r"holds 2 tables; name one behind a colon: :data/test\.csv; :train\.jsonl"):
        load_prompts("hub:some-one/many")
    assert len(load_prompts("hub:some-one/many:data/test.csv").of("prank")) == 30
    with pytest.raises(DataInvalid, match="there is no such file"):
        load_prompts("hub:some-one/many:other.csv")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("hub:some-one/nothing", "the hub has no data set some-one/nothing"),
        ("hub:some-one/mild@v9", "has no such revision"),
        ("hub:some-one/empty", "holds no file that is read here"),
        ("hub:", "is no hub data set"),
        ("hub:name", "is no hub data set"),
        ("hub:a/b/c", "is no hub data set"),
    ],
)
def test_what_is_not_there(hub: Path, source: str, says: str) -> None:
    repo(hub, "some-one/mild")
    repo(hub, "some-one/empty")
    with pytest.raises(DataInvalid, match=says):
        load_prompts(source)


def test_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataInvalid, match=r"cannot be fetched from the hub .*without a network, give the path"):
        load_prompts("hub:some-one/mild")
