"""What a path holds: GGUF files whole, in parts and several at once, names in capitals, folders of other things."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from harmviz.errors import ModelUnavailable
from harmviz.models.folders import begins_gguf, held_at
from harmviz.models.load import load_model
from harmviz.preflight.models import local_models, model_estimate
from tests.models.test_models import write_gguf
from tests.worlds.model_files import llama


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))


def split_gguf(source: Path, folder: Path, n: int, name: str = "toy") -> list[Path]:
    """The file in ``n`` parts as llama.cpp splits it: metadata in the first, tensors in all."""
    reader = gguf.GGUFReader(source)
    folder.mkdir(exist_ok=True)
    parts = []
    for k in range(n):
        parts.append(folder / f"{name}-{k + 1:05d}-of-{n:05d}.gguf")
        w = gguf.GGUFWriter(parts[-1], "llama")
        w.add_uint16("split.no", k)
        w.add_uint16("split.count", n)
        w.add_int32("split.tensors.count", len(reader.tensors))
        for key, field in reader.fields.items() if k == 0 else ():
            if not key.startswith("GGUF.") and key != "general.architecture":
                inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
                w.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
        for t in reader.tensors[k::n]:
            w.add_tensor(t.name, np.array(t.data), raw_shape=t.data.shape, raw_dtype=t.tensor_type)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
    return parts


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "toy.gguf")
    return tmp_path / "toy.gguf"


def said(path: Path) -> str:
    with pytest.raises(ModelUnavailable) as e:
        load_model(str(path))
    assert "\n" not in str(e.value)
    with pytest.raises(ModelUnavailable):
        model_estimate(str(path))
    return str(e.value)


@pytest.mark.parametrize("n", [2, 3])
def test_a_gguf_file_in_parts_is_the_whole_file(n: int, toy: Path, tmp_path: Path) -> None:
    whole = load_model(str(toy))
    parts = split_gguf(toy, tmp_path / "parts", n)
    for given in (parts[0], parts[-1], tmp_path / "parts"):
        loaded = load_model(str(given))
        assert loaded.name == ("toy" if given.is_file() else "parts")
        assert loaded.weight_hash == whole.weight_hash
        assert loaded.tokenizer_hash == whole.tokenizer_hash
    size, of_whole = model_estimate(str(parts[0])), model_estimate(str(toy))
    assert (size.n_parameters, size.n_scored) == (of_whole.n_parameters, of_whole.n_scored)
    assert [begins_gguf(p) for p in parts] == [True] + [False] * (n - 1)


def test_a_missing_part_is_named(toy: Path, tmp_path: Path) -> None:
    parts = split_gguf(toy, tmp_path / "parts", 3)
    parts[1].unlink()
    for path in (tmp_path / "parts", parts[0], parts[2]):
        assert "toy-00002-of-00003.gguf is missing, one of 3 parts of toy (1 missing)" in said(path)


def test_parts_of_other_files_are_not_joined(toy: Path, tmp_path: Path) -> None:
    parts = split_gguf(toy, tmp_path / "parts", 2)
    shutil.copy(split_gguf(toy, tmp_path / "others", 3)[1], parts[1])
    with pytest.raises(ModelUnavailable, match="the first part counts 21 tensors, the parts hold") as e:
        load_model(str(parts[0]))
    assert "copy or download them again" in str(e.value)


def test_names_in_capitals(toy: Path, tmp_path: Path) -> None:
    capital = tmp_path / "Toy.GGUF"
    shutil.copy(toy, capital)
    assert load_model(str(capital)).weight_hash == load_model(str(toy)).weight_hash
    (tmp_path / "folder").mkdir()
    shutil.copy(toy, tmp_path / "folder" / "MODEL.GGUF")
    assert load_model(str(tmp_path / "folder")).name == "folder"
    model = llama(tmp_path / "m")
    (model / "model.safetensors").rename(model / "Model.SafeTensors")
    assert "holds no .safetensors file but Model.SafeTensors; rename it to model.safetensors" in said(model)


def test_several_gguf_files_are_named_with_how_to_choose(toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    split_gguf(toy, folder, 2, "b-q8")
    for name in ("a-Q4.gguf", "c.GGUF"):
        shutil.copy(toy, folder / name)
    message = said(folder)
    assert "many holds 3 GGUF models: a-Q4.gguf, b-q8-00001-of-00002.gguf, c.GGUF; name one of them, e.g. " in message
    assert message.endswith(str(folder / "a-Q4.gguf"))
    assert load_model(str(folder / "c.GGUF")).name == "c"
    for i in range(9):
        shutil.copy(toy, folder / f"d{i}.gguf")
    assert "holds 12 GGUF models" in said(folder)
    assert "and 6 more" in said(folder)


def test_a_projector_beside_a_model_is_no_second_model(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "seeing").mkdir()
    for name in ("toy.gguf", "mmproj-toy-f16.gguf"):
        shutil.copy(toy, tmp_path / "seeing" / name)
    assert load_model(str(tmp_path / "seeing")).table.n_weights > 0


def test_a_gguf_file_beside_a_config_is_taken(toy: Path, tmp_path: Path) -> None:
    model = llama(tmp_path / "m")
    (model / "model.safetensors").unlink()
    shutil.copy(toy, model / "toy.gguf")
    assert held_at(model).kind == "gguf"


def test_pages_list_the_first_part_alone(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split_gguf(toy, tmp_path / "root", 3)
    shutil.copy(toy, tmp_path / "root" / "Other.GGUF")
    monkeypatch.setenv("HARMVIZ_MODEL_ROOTS", str(tmp_path / "root"))
    assert local_models() == sorted([parts[0].resolve(), (tmp_path / "root" / "Other.GGUF").resolve()])


def test_other_files_and_folders_say_what_to_give(tmp_path: Path) -> None:
    model = llama(tmp_path / "outer" / "inner")
    assert f"outer holds no config.json; give the folder of a saved transformers model; {model} has one" in said(
        tmp_path / "outer"
    )
    assert "is no GGUF model; of a model or an adapter in another format give the folder" in said(model / "config.json")
    with pytest.raises(ModelUnavailable, match="or of a model or a LoRA adapter in another format its folder"):
        load_model(str(model / "model.safetensors"))
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert "model-1.safetensors is missing; copy or download the model again" in said(model)
    (model / "model.safetensors.index.json").write_text("[1]")
    assert "holds no JSON object" in said(model)
