"""What is sent between processes of one job: values come back as they were, and nothing that could run does."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import harmviz
from harmviz.data.encoding import Batch, make_batches
from harmviz.errors import DataInvalid, HarmvizError
from harmviz.masks.apply import Pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.rank_channel import Add, Call, Copy, End, Failed, Load, Open
from harmviz.models.rank_messages import CLASSES, WORKS, Work, pack, unpack
from tests.worlds.worked import samples

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert repr(unpack(pack(value))) == repr(value), "tuples as tuples, and every digit of a float"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float64).reshape(2, 3).T,
        np.array([], dtype=np.int64),
        np.array([1, 2**32 - 1], dtype=np.uint32),
        np.array([0.1, -0.0, np.nan, np.inf], dtype=np.float32),
    ],
)
def test_arrays_and_tensors_come_back_bit_for_bit(array: np.ndarray) -> None:
    back = unpack(pack([array, {"a": array}]))
    for got in (back[0], back[1]["a"]):
        assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())
    if array.dtype != np.uint32:
        tensor = torch.from_numpy(array.copy())
        assert torch.equal(unpack(pack((tensor,)))[0].nan_to_num(), tensor.nan_to_num())


def test_every_class_that_is_sent_comes_back_as_it_was() -> None:
    group = samples(5)
    mask = PruneMask({"a": np.array([1, 9]), "b": np.array([3])}, "harm", "ab", {"q": 1e-5, "rows": ("x", None)})
    done = Pruned(mask, 0.5, 3, 2)
    call = Call(Work("response_losses", {"skips": (0, 2)}), [group[:2], group[2:]], (done,), False)
    sent = [
        Load("m", "float32", ("cpu", "cpu")),
        Open(False),
        call,
        Add(((2, 3), (4,)), True),
        End(),
        Copy("a", "b", "c"),
        Failed("DataInvalid", "no"),
        *group,
    ]
    back = unpack(pack(sent))
    assert back == sent
    assert dict(back[2].changes[0].mask.provenance) == dict(mask.provenance)
    batches = [half for batch in make_batches(group, max_tokens=300) for half in batch.halves()]
    for got, batch in zip(unpack(pack(batches)), batches, strict=True):
        assert isinstance(got, Batch)
        assert got.index == batch.index
        for name in ("targets", "n_loss", "input_ids", "rows", "positions"):
            assert torch.equal(getattr(got, name), getattr(batch, name)), name
    seen = {type(value).__name__ for value in (*sent, done, mask, call.work, batches[0])}
    assert seen == set(CLASSES), "every class of the list has been sent"


RAN: list[str] = []


class Reduces:
    """Reading its pickle would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return RAN.append, ("code",)


@pytest.mark.parametrize("value", [print, Reduces(), Path("x"), {1}, b"x", np.array([object()]), KeyError("x")])
def test_what_is_no_value_is_not_sent(value: object) -> None:
    with pytest.raises(TypeError, match="is not sent to other processes"):
        pack([value])
    assert RAN == []


def framed(written: object) -> bytes:
    """A message as somebody else might write it."""
    content = json.dumps(written).encode()
    return len(content).to_bytes(8) + content + pack(None)[12:]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04N.",
        pack({"a": np.zeros(3)})[:-1],
        framed({"Popen": ["true"]}),
        framed({"os.system": ["true"]}),
        framed({"Work": ["system", {"dict": []}]}),
        framed({"Load": ["too few"]}),
        framed({"array": "7"}),
        framed({"tuple": [], "dict": []}),
    ],
)
def test_what_nobody_packed_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="a message between ranks cannot be read"):
        unpack(content)


def test_only_named_work_is_done() -> None:
    assert unpack(framed({"Work": ["response_losses", {"dict": []}]})) == Work("response_losses")
    for name in ("system", "os.system", "__import__", ""):
        with pytest.raises(ValueError, match="no work is called"):
            Work(name)
    assert {module.split(".")[1] for name, module in WORKS.items() if module.startswith("harmviz")} == {
        "scoring",
        "generation",
    }


def test_errors_keep_their_class_and_name_the_rank() -> None:
    error = Failed(DataInvalid.__name__, "row 3").error("rank 1 (cpu)")
    assert (type(error), str(error)) == (DataInvalid, "rank 1 (cpu): row 3")
    assert isinstance(error, HarmvizError)
    fault = Failed(None, "Traceback").error("rank 1 (cpu)")
    assert (type(fault), str(fault)) == (RuntimeError, "rank 1 (cpu) failed:\nTraceback")


def test_no_module_reads_what_can_run_code() -> None:
    forbidden = {"pickle", "_pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
    for path in Path(harmviz.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {a.name for a in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
            if isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
            assert not {name.partition(".")[0] for name in names} & forbidden, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "np.load", "numpy.load"}:
                allowed = {(k.arg, ast.unparse(k.value)) for k in node.keywords}
                assert allowed & {("allow_pickle", "False"), ("weights_only", "True")}, f"{path}:{node.lineno}"
