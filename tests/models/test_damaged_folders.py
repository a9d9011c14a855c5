"""Mangled model folders: whatever the bytes, a model, or one line that says what is wrong. Nothing else comes out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmviz.errors import HarmvizError
from harmviz.models.load import load_model
from harmviz.preflight.models import local_models, model_estimate
from tests.models.test_models import write_gguf
from tests.worlds.model_files import llama, lora

JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "adapter_config.json")
often = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of whole models: ``model``, ``adapter`` of it, ``toy.gguf``."""
    root = tmp_path_factory.mktemp("whole")
    lora(llama(root / "model"), root / "adapter")
    write_gguf(root / "toy.gguf")
    return root


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARMVIZ_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def read(path: Path) -> None:
    """Sizes and loads what lies there: fails unless it works or says in one line what is wrong."""
    for reader in (model_estimate, load_model):
        try:
            reader(str(path))
        except HarmvizError as e:
            said = str(e)
        else:
            continue
        assert said
        assert "\n" not in said


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["llama", "bert", "gemma3", "gpt2", "nonsense", "../..", "default", "float16", "\ud800"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-2, 9), max_size=3),
    st.dictionaries(st.sampled_from(["type", "rope_type", "content", "vocab"]), st.integers(0, 3), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand in a JSON document, of a long list or object the first few."""
    found = [path] if path else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(inside)[:40]:
        found += places(child, (*path, key))
    return found


def put(document: Any, place: tuple[Any, ...], value: Any, *, remove: bool) -> None:
    for key in place[:-1]:
        document = document[key]
    if remove:
        del document[place[-1]]
    else:
        document[place[-1]] = value


@often
@given(data=st.data())
def test_a_mangled_value_in_a_json_file(data: st.DataObject, whole: Path) -> None:
    kind = data.draw(st.sampled_from(["model", "model", "adapter"]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / kind
        shutil.copytree(whole / kind, folder)
        path = folder / data.draw(st.sampled_from([n for n in JSON_FILES if (folder / n).is_file()]))
        document = json.loads(path.read_text())
        for _ in range(data.draw(st.integers(1, 2))):
            if found := places(document):
                put(document, data.draw(st.sampled_from(found)), data.draw(values), remove=data.draw(st.booleans()))
        path.write_text(json.dumps(document))
        read(folder)


@often
@given(
    name=st.sampled_from(["model.safetensors", *JSON_FILES[:4], "chat_template.jinja"]),
    at=st.floats(0, 1),
    content=st.binary(max_size=40),
    cut=st.booleans(),
    early=st.booleans(),
)
def test_mangled_bytes_in_a_model(name: str, at: float, content: bytes, cut: bool, early: bool, whole: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        shutil.copytree(whole / "model", folder)
        _mangle(folder / name, at, content, cut=cut, early=early)
        read(folder)


@often
@given(at=st.floats(0, 1), content=st.binary(max_size=24), cut=st.booleans(), early=st.booleans())
def test_mangled_bytes_in_a_gguf_file(at: float, content: bytes, cut: bool, early: bool, whole: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "toy.gguf"
        shutil.copy(whole / "toy.gguf", path)
        _mangle(path, at, content, cut=cut, early=early)
        read(path)


def _mangle(path: Path, at: float, content: bytes, *, cut: bool, early: bool) -> None:
    """Overwrites bytes at a place of the file (``early``: of its header), or cuts it off there."""
    whole = path.read_bytes()
    start = int(at * min(len(whole), 3000 if early else len(whole)))
    path.write_bytes(whole[:start] + (b"" if cut else content + whole[start + len(content) :]))


@often
@given(
    names=st.lists(
        st.sampled_from(
            [
                "config.json",
                "adapter_config.json",
                "model.safetensors",
                "model.safetensors.index.json",
                "adapter_model.safetensors",
                "tokenizer.json",
                "a.gguf",
                "b.GGUF",
                "c-00001-of-00002.gguf",
                "c-00002-of-00002.gguf",
                "c-00000-of-00000.gguf",
                "mmproj.gguf",
                "chat_template.json",
            ]
        ),
        unique=True,
    ),
    content=st.sampled_from(
        [b"", b"{}", b"[]", b"null", b"{", b"GGUF", b"\xff" * 9, b"[" * 5000, b'{"peft_type":"LORA"}']
    ),
)
def test_folders_of_any_files(names: list[str], content: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(content)
        read(folder)
        for path in folder.iterdir():
            read(path)
        patch.setenv("HARMVIZ_MODEL_ROOTS", scratch)
        assert all(p.is_relative_to(Path(scratch).resolve()) for p in local_models())
