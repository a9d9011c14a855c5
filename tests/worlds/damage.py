"""Damaged and hostile runs: each breaks one thing of a good run, as a disk, a person or an archive might."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmviz.runs import export_run, read_run
from harmviz.runs.manifest import manifest_hash
from harmviz.runs.rows import SCHEMA
from tests.worlds.fabricated import make_run

Damage = Callable[[Path], None]


def rewritten(folder: Path, **changes: Any) -> None:
    """Changes the manifest as somebody would who knows its format: its own hash is made anew."""
    where = folder / "manifest.json"
    manifest = json.loads(where.read_bytes()) | changes
    where.write_text(json.dumps(manifest | {"manifest_hash": manifest_hash(manifest)}))


def changed(part: str, **changes: Any) -> Damage:
    """Changes keys inside one part of the manifest."""

    def apply(folder: Path) -> None:
        rewritten(folder, **{part: json.loads((folder / "manifest.json").read_bytes())[part] | changes})

    return apply


def replaced(**changes: Any) -> Damage:
    """Replaces parts of the manifest."""
    return lambda folder: rewritten(folder, **changes)


def written(text: str) -> Damage:
    """Replaces the manifest by this text."""
    return lambda folder: (folder / "manifest.json").write_text(text) and None


def cut(name: str, keep: float = 0.5) -> Damage:
    """Truncates a file of the run."""

    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(keep * len(content))])

    return apply


def linked(name: str, to: str) -> Damage:
    """Replaces a file of the run by a link."""

    def apply(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return apply


def bomb(path: Path, n_rows: int, **columns: str | float) -> None:
    """A small file of rows that repeat one value a column."""
    arrays = []
    for field in SCHEMA:
        value = columns.get(field.name)
        if isinstance(value, str):
            places = pa.array([0], pa.int32()).take(pa.array([0] * n_rows, pa.int32()))
            arrays.append(pa.DictionaryArray.from_arrays(places, pa.array([value])).cast(pa.string()))
        else:
            arrays.append(pa.array([value] * n_rows, field.type))
    pq.write_table(pa.table(arrays, schema=SCHEMA), path, compression="zstd")


def filled(n_rows: int, **columns: str | float) -> Damage:
    """Replaces the results by ``bomb``."""
    return lambda folder: bomb(folder / "results" / "effect.parquet", n_rows, **columns)


def _as_a_file(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    folder.write_text("no folder")


def _as_a_dangling_link(folder: Path) -> None:
    folder.rename(folder.with_name(f".gone-{folder.name}"))
    folder.symlink_to(folder.with_name("nowhere"))


def _as_a_pipe(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


_MATRIX = {"name": "m", "layer": 0, "module_kind": "up", "rows": 2, "cols": 3}
_POINT = {"q": 1e-5, "p": 0.01, "n_weights": 3, "mask": "m", "within_benign_limit": True, "benign_limit": 0.1}

#: What was done → (how, words of the reason that a reader is told).
DAMAGES: dict[str, tuple[Damage, str]] = {
    "deep": (written("[" * 200_000), "nested deeper"),
    "deep-object": (written('{"a":' * 50 + "1" + "}" * 50), "nested deeper"),
    "no-json": (written("schema: 1"), "cannot be read"),
    "cut-manifest": (cut("manifest.json"), "cannot be read"),
    "empty-manifest": (written(""), "cannot be read"),
    "no-utf8": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe{}") and None, "no UTF-8"),
    "surrogate": (written(r'{"run_id": "\ud800"}'), "surrogate"),
    "nan": (written('{"seeds": NaN}'), "NaN"),
    "overflow": (written('{"seeds": 1e999}'), "not finite"),
    "huge-number": (written('{"seeds": ' + "9" * 30 + "}"), "64 bits"),
    "endless-number": (written('{"seeds": ' + "9" * 10_000 + "}"), "cannot be read"),
    "key-twice": (written('{"a": 1, "a": 2}'), "twice"),
    "long-text": (written('{"a": "' + "x" * 200_000 + '"}'), "200,000 characters"),
    "list": (written("[]"), "must be a JSON object"),
    "newer": (replaced(schema_version=9), "update harmviz"),
    "odd-version": (replaced(schema_version=[1]), "need 1"),
    "no-model": (replaced(model=None), "model must be dict"),
    "no-parameters": (changed("model", n_parameters=0), "impossible"),
    "more-scored": (changed("model", n_parameters=5), "impossible"),
    "negative": (changed("model", n_scored_weights=-1), "impossible"),
    "true-number": (changed("model", n_parameters=True), "must be int"),
    "long-name": (changed("model", name="x" * 5000), "longer than"),
    "list-name": (changed("model", name=["x"]), "must be str"),
    "no-date": (replaced(created="tomorrow"), "no date"),
    "parents": (replaced(parents=[{"a": 1}]), "parents"),
    "counts": (changed("data", counts={"hate": {"report": -1}}), "data.counts.hate"),
    "counts-number": (changed("data", counts={"hate": {"report": 0.5}}), "data.counts.hate"),
    "notes": (changed("data", notes=[1]), "data.notes"),
    "prompts": (changed("data", scoring_prompts=7), "scoring_prompts"),
    "timings": (replaced(timings={"score": -5}), "below 0"),
    "headline-list": (changed("method", headline=[1]), "method.headline"),
    "headline-text": (changed("method", headline={"both": {**_POINT, "q": "x"}}), "method.headline.both.q"),
    "headline-q": (changed("method", headline={"both": {**_POINT, "q": 1e300}}), "impossible"),
    "headline-short": (changed("method", headline={"both": {}}), "q is missing"),
    "matrix-shape": (replaced(weights=[_MATRIX | {"rows": -2}]), "impossible shape"),
    "matrix-text": (replaced(weights=[_MATRIX | {"rows": "2"}]), "must be int"),
    "matrix-huge": (replaced(weights=[_MATRIX | {"rows": 1 << 62}]), "impossible shape"),
    "matrix-name": (replaced(weights=[_MATRIX | {"name": "m[x]"}]), "no name of a matrix"),
    "file-outside": (replaced(files={"../../x.parquet": "0" * 64}), "outside the run"),
    "file-absolute": (replaced(files={"/etc/passwd": "0" * 64}), "outside the run"),
    "file-long": (replaced(files={"x" * 300: "0" * 64}), "no name of a file"),
    "file-nul": (replaced(files={"x\0y": "0" * 64}), "no name of a file"),
    "file-empty": (replaced(files={"": "0" * 64}), "no name of a file"),
    "edited": (lambda f: _edit(f, "smollm2", "smollm3"), "changed after the run was written"),
    "other-id": (replaced(run_id="other-0000000000"), "holds run other-0000000000"),
    "gone-file": (lambda f: (f / "candidates.safetensors").unlink(), "candidates.safetensors is missing"),
    "link-out": (linked("candidates.safetensors", "/etc/hostname"), "leads out of the run"),
    "link-nowhere": (linked("candidates.safetensors", "nowhere"), "is missing"),
    "link-round": (linked("candidates.safetensors", "candidates.safetensors"), "candidates.safetensors"),
    "cut-candidates": (cut("candidates.safetensors"), "no readable safetensors"),
    "cut-mask": (cut("masks/mean.safetensors", 0.9), "no readable safetensors"),
    "cut-results": (cut("results/effect.parquet"), "no readable Parquet"),
    "empty-results": (cut("results/effect.parquet", 0), "no readable Parquet"),
    "infinite": (filled(3, experiment="effect", value=float("inf")), "not finite"),
    "negative-count": (filled(3, experiment="effect", n_weights=-4), "never below 0"),
    "long-cell": (filled(3, experiment="x" * 100_000), "100,000 bytes"),
    "row-bomb": (filled(2_000_001), "2,000,001 rows"),
    "byte-bomb": (filled(150_000, category="x" * 4000), "MB"),
    "file": (_as_a_file, "is a file"),
    "dangling": (_as_a_dangling_link, "link to nothing"),
    "pipe": (_as_a_pipe, "no complete run"),
    "no-manifest": (lambda f: (f / "manifest.json").unlink(), "no complete run"),
}


def _edit(folder: Path, old: str, new: str) -> None:
    where = folder / "manifest.json"
    where.write_text(where.read_text().replace(old, new))


def damaged_run(root: Path, name: str) -> Path:
    """A run below ``root``, damaged in the way of this name; where it lies."""
    folder = make_run(root, f"{name}-0000000000").path
    DAMAGES[name][0](folder)
    return folder


def packed(folder: Path, run_id: str = "smollm2-135m-instruct-pyrit-0123456789", **changes: Any) -> io.BytesIO:
    """The archive of a run made by hand below ``folder``, without its mask, which has no header."""
    run = make_run(folder, run_id, **changes)
    (run.path / "masks" / "mean.safetensors").unlink()
    rewritten(run.path, files={n: h for n, h in run.manifest["files"].items() if not n.startswith("masks/")})
    archive = io.BytesIO()
    export_run(read_run(run.path), archive)
    return archive


def state_of(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Every entry below a folder with what it is and holds: equal before and after means that nothing was touched."""
    state = {}
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file" if path.is_file() else "other"
        content = os.fsencode(os.readlink(path)) if kind == "link" else path.read_bytes() if kind == "file" else b""
        state[str(path.relative_to(folder))] = (kind, content)
    return state
