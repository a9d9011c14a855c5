"""Manifests and archives at random: a reader says what is wrong, or reads; it never changes a store."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmviz import runs as store
from harmviz.claims import claim_of
from harmviz.errors import HarmvizError
from harmviz.runs.json_text import parse_json
from harmviz.runs.manifest import manifest_hash
from harmviz.tuning.stored import checkpoints
from harmviz.ui.run_card import compact_card, run_card
from tests.worlds.damage import packed, state_of
from tests.worlds.fabricated import make_ladder, make_run, manifest

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
VICTIM = "victim-0000000000"
#: A small model, so that a manifest is read three hundred times in seconds.
SMALL: dict[str, Any] = {
    "weights": [{"name": "a", "layer": 0, "module_kind": "up_proj", "rows": 4, "cols": 3, "transposed": False}],
    "model": {**manifest()["model"], "n_scored_weights": 12},
}
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["\ud800", "../x", "/etc/passwd", "", "\x1b[2J", "x" * 5000, 1 << 70, -1, 0, 1e308]),
)
VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside a manifest; of a long list to the first one only."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(said: dict[str, Any], path: tuple[Any, ...], value: Any, *, remove: bool) -> dict[str, Any]:
    """The manifest with one value replaced or taken away, under a hash that fits where one can be made."""
    made = copy.deepcopy(said)
    inner: Any = made
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with contextlib.suppress(ValueError, TypeError):
        made["manifest_hash"] = manifest_hash(made)
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a good run, a ladder, and a victim whose manifest is changed."""
    folder = tmp_path_factory.mktemp("fuzz") / "runs"
    make_run(folder, "good-0000000000", created="2020-01-01T00:00:00+00:00", **SMALL)
    make_run(
        folder,
        VICTIM,
        method={"headline": {"both": {"q": 1e-5, "p": 0.01, "n_weights": 3, "mask": "m"}}, "empty_masks": ["x"]},
        **SMALL,
    )
    make_ladder(folder, "ladder-0000000000")
    return folder


def lists(root: Path) -> None:
    """Everything that goes over all runs, and cannot choose which: none of it may fail for one of them."""
    runs = store.list_runs(root)
    assert "good-0000000000" in [r.id for r in runs]
    assert all(b.reason.isprintable() for b in store.broken_runs(root))
    store.default_run(root)
    store.open_run("latest", root)
    for run in runs:
        claim_of(run)
        assert isinstance(run.tags, tuple)
        results = run.results()
        if run.id == VICTIM:
            compact_card(run, results)
            run_card(run, results)
    assert checkpoints() is not None


@FUZZ
@given(data=st.data())
def test_a_manifest_with_anything_in_any_place_hides_nothing(
    root: Path, data: st.DataObject, monkeypatch_module: pytest.MonkeyPatch
) -> None:
    where = root / VICTIM / "manifest.json"
    good = where.read_bytes()
    said = json.loads(good)
    path = data.draw(st.sampled_from(list(places(said))))
    made = changed(said, path, data.draw(VALUES), remove=data.draw(st.booleans()))
    content = json.dumps(made)
    try:
        where.write_text(content, encoding="utf-8", errors="surrogatepass")
        before = state_of(root)
        lists(root)
        with contextlib.suppress(HarmvizError):
            store.verify_run(store.open_run(VICTIM, root))
        assert state_of(root) == before
    finally:
        where.write_bytes(good)


@pytest.fixture(scope="module")
def monkeypatch_module(root: Path) -> Iterator[pytest.MonkeyPatch]:
    """The store is the cache's while this module's tests run: ladders are looked for there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARMVIZ_CACHE", str(root.parent))
        yield patch


@FUZZ
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode(errors="surrogatepass")))
def test_any_bytes_are_a_manifest_or_a_reason(root: Path, content: bytes) -> None:
    where = root / VICTIM / "manifest.json"
    good = where.read_bytes()
    try:
        where.write_bytes(content)
        assert [r.id for r in store.list_runs(root)][-1] == "good-0000000000"
        (broken,) = store.broken_runs(root)
        assert broken.reason.isprintable()
    finally:
        where.write_bytes(good)


@FUZZ
@given(value=VALUES)
def test_what_was_parsed_can_be_written_and_encoded(value: Any) -> None:
    try:
        parsed = parse_json(json.dumps(value).encode())
    except ValueError:
        return
    assert json.loads(json.dumps(parsed, allow_nan=False).encode()) == parsed


# -- archives ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return packed(tmp_path_factory.mktemp("packed"), VICTIM, **SMALL).getvalue()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one run, into which archives are taken."""
    folder = tmp_path_factory.mktemp("target") / "runs"
    make_run(folder, "good-0000000000", **SMALL)
    return folder


def taken_in_or_refused(target: Path, content: bytes) -> None:
    before = state_of(target)
    try:
        run = store.import_run(io.BytesIO(content), target)
    except HarmvizError:
        assert state_of(target) == before
        return
    assert store.verify_run(run) == []
    store.delete_run(run.id, target)
    shutil.rmtree(target / ".imported", ignore_errors=True)
    assert state_of(target) == before


@FUZZ
@given(data=st.data())
def test_an_archive_with_any_bytes_changed_is_taken_in_whole_or_refused(
    target: Path, archive: bytes, data: st.DataObject
) -> None:
    content = bytearray(archive)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(content)))
    taken_in_or_refused(target, bytes(content[:cut]))


@FUZZ
@given(data=st.data())
def test_an_archive_with_anything_in_its_manifest_is_taken_in_whole_or_refused(
    target: Path, archive: bytes, data: st.DataObject
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/manifest.json"):
                said = json.loads(content)
                path = data.draw(st.sampled_from(list(places(said))))
                made_up = changed(said, path, data.draw(VALUES), remove=data.draw(st.booleans()))
                content = json.dumps(made_up).encode()
            new.writestr(name, content)
    taken_in_or_refused(target, made.getvalue())


@FUZZ
@given(name=st.text(min_size=1, max_size=40), content=st.binary(max_size=50))
def test_a_member_of_any_name_is_refused(target: Path, archive: bytes, name: str, content: bytes) -> None:
    made = io.BytesIO(archive)
    with zipfile.ZipFile(made, "a") as z:
        try:
            z.writestr(name, content)
        except (ValueError, IndexError):
            return  # no archive can hold it
    taken_in_or_refused(target, made.getvalue())
