"""The explicit check of a manifest: types, then values, then its own hash. What passes may be relied on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from harmviz.models.weights import WeightTable
from harmviz.runs.manifest import HASH, KINDS, LET_GO, SCHEMA_VERSION, manifest_hash

_NUMBER = (int, float)
_OPTIONAL_TEXT = (str, type(None))
Types = Mapping[str, type | tuple[type, ...]]

#: Required keys and the types of their values.
_TOP: Types = {
    "schema_version": int,
    "run_id": str,
    "kind": str,
    "parents": list,
    "created": str,
    "model": dict,
    "weights": list,
    "data": dict,
    "method": dict,
    "parameters": dict,
    "seeds": dict,
    "software": dict,
    "hardware": dict,
    "timings": dict,
    "files": dict,
    "digests": dict,
}
_MODEL: Types = {
    "name": str,
    "revision": _OPTIONAL_TEXT,
    "weight_hash": str,
    "dtype": str,
    "n_parameters": int,
    "n_scored_weights": int,
    "family": str,
}
_DATA: Types = {"id": str, "hash": str, "counts": dict, "left_out": dict, "notes": list}
_VALUES: Types = {"seeds": _NUMBER, "timings": _NUMBER, "digests": str, "software": str}
#: A row of the weight table; a row may leave out what has a default.
_MATRIX: Types = {"name": str, "layer": int, "module_kind": str, "rows": int, "cols": int}
#: A point of a map run's headline: what it must say, and what it may.
_POINT: Types = {"q": _NUMBER, "p": _NUMBER}
_OF_POINT: Types = {"n_weights": int, "mask": str, "within_benign_limit": bool, "benign_limit": _NUMBER}
#: Longest name of a model, a set, a matrix. A model's name may be a path.
_MAX_NAME = 4096
_MAX_SIDE = 1 << 40


def manifest_problems(manifest: Any) -> list[str]:
    """Everything that breaks schema 1, one line each; an empty list means that the manifest may be relied on."""
    if not isinstance(manifest, dict):
        return ["the manifest must be a JSON object"]
    if "schema_version" in manifest and manifest["schema_version"] != SCHEMA_VERSION:
        version = manifest["schema_version"]
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        shown = ascii(version)[:80]
        return [f"schema {shown} cannot be read here ({'update harmviz' if newer else f'need {SCHEMA_VERSION}'})"]
    problems = _wrong_types("", manifest, _TOP)
    if problems:
        return problems
    if manifest["kind"] not in KINDS:
        problems.append(f"kind must be one of {', '.join(KINDS)}, got {ascii(manifest['kind'])[:80]}")
    problems += _wrong_types("model.", manifest["model"], _MODEL) + _wrong_types("data.", manifest["data"], _DATA)
    if problems:
        return problems
    problems = [*_bad_values(manifest), *_bad_data(manifest["data"]), *_bad_files("files", manifest["files"])]
    problems += _bad_files(LET_GO, manifest.get(LET_GO, {}))
    problems += [*_bad_headline(manifest), *_bad_weights(manifest)]
    return problems or list(_changed(manifest))


def file_name_problem(name: str) -> str | None:
    """What keeps this from being the name of a file inside a run, or None: relative, ``/`` between plain parts."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ".." in parts:
        return "points outside the run"
    if len(name) > 1000 or not all(0 < len(part.encode(errors="replace")) <= 255 for part in parts) or "." in parts:
        return "is no name of a file"
    return None if name.isprintable() else "is no name of a file"


def _wrong_types(where: str, value: Mapping[str, Any], keys: Types) -> list[str]:
    problems = []
    for key, allowed in keys.items():
        if key not in value:
            problems.append(f"{where}{key} is missing")
        elif not isinstance(value[key], allowed) or (isinstance(value[key], bool) and allowed is not bool):
            names = " or ".join(t.__name__ for t in (allowed if isinstance(allowed, tuple) else (allowed,)))
            problems.append(f"{where}{key} must be {names}, got {type(value[key]).__name__}")
    return problems


def _shown(name: str) -> str:
    """A name out of the manifest as a message quotes it: short, without control characters."""
    return name if len(name) <= 80 and name.isprintable() else ascii(name[:80])[1:-1]


def _bad_values(manifest: Mapping[str, Any]) -> Iterator[str]:
    for key, want in _VALUES.items():
        for name, value in manifest[key].items():
            if not isinstance(value, want) or isinstance(value, bool):
                names = " or ".join(t.__name__ for t in (want if isinstance(want, tuple) else (want,)))
                yield f"{key}.{_shown(name)} must be {names}"
    if not all(isinstance(parent, str) for parent in manifest["parents"]):
        yield "parents must be run ids"
    try:
        datetime.fromisoformat(manifest["created"])
    except ValueError:
        yield f"created is no date: {_shown(manifest['created'])}"
    model = manifest["model"]
    if long := [key for key in ("name", "revision", "dtype", "family") if len(model[key] or "") > _MAX_NAME]:
        yield f"model.{long[0]} is longer than {_MAX_NAME:,} characters"
    if not 0 <= model["n_scored_weights"] <= model["n_parameters"] or model["n_parameters"] < 1:
        yield (
            f"a model of {model['n_parameters']:,} parameters, {model['n_scored_weights']:,} of them scored, "
            "is impossible"
        )
    if negative := [stage for stage, seconds in manifest["timings"].items() if _is_number(seconds) and seconds < 0]:
        yield f"timings.{_shown(negative[0])} is below 0"


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBER) and not isinstance(value, bool)


def _bad_data(data: Mapping[str, Any]) -> Iterator[str]:
    for name, counts in data["counts"].items():
        if not isinstance(counts, dict) or any(type(n) is not int or n < 0 for n in counts.values()):
            yield f"data.counts.{_shown(name)} must map each split to a whole number"
    for name, why in data["left_out"].items():
        if not isinstance(why, str):
            yield f"data.left_out.{_shown(name)} must be text"
    if not all(isinstance(note, str) for note in data["notes"]):
        yield "data.notes must be texts"
    dropped = data.get("dropped", {})
    by_set = dropped.values() if isinstance(dropped, dict) else [None]
    if not all(isinstance(r, dict) and all(type(n) is int and n >= 0 for n in r.values()) for r in by_set):
        yield "data.dropped must map sets to reasons to numbers of rows"
    prompts = data.get("scoring_prompts", [])
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        yield "data.scoring_prompts must be ids of prompts"


def _bad_files(key: str, files: Any) -> Iterator[str]:
    if not isinstance(files, dict):
        yield f"{key} must be dict"
        return
    for name, digest in files.items():
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            yield f"{key}.{_shown(name)} is not a sha256"
        if why := file_name_problem(name):
            yield f"{key}.{_shown(name)} {why}"


def _bad_headline(manifest: Mapping[str, Any]) -> Iterator[str]:
    """A map run's chosen points: pages and commands compute with them."""
    empty = manifest["method"].get("empty_masks", [])
    if not isinstance(empty, list) or not all(isinstance(name, str) for name in empty):
        yield "method.empty_masks must be names"
    headline = manifest["method"].get("headline", {})
    if manifest["kind"] != "map":
        return
    if not isinstance(headline, dict):
        yield "method.headline must be dict"
        return
    for contrast, point in headline.items():
        where = f"method.headline.{_shown(contrast)}"
        if not isinstance(point, dict):
            yield f"{where} must be dict"
            continue
        given = {key: kind for key, kind in _OF_POINT.items() if key in point}
        if wrong := _wrong_types("", point, {**_POINT, **given}):
            yield f"{where}.{wrong[0]}"
        elif not (0 <= point["q"] <= 1 and 0 <= point["p"] <= 1 and point.get("n_weights", 0) >= 0):
            yield f"{where} is impossible: q {point['q']}, p {point['p']}, {point.get('n_weights')} weights"


def _bad_weights(manifest: Mapping[str, Any]) -> Iterator[str]:
    rows = manifest["weights"]
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            yield f"weights is no weight table (row {place} is no object)"
            return
        wrong = _wrong_types(f"weights[{place}].", row, _MATRIX)
        if not wrong and not (0 < row["rows"] < _MAX_SIDE and 0 < row["cols"] < _MAX_SIDE and row["layer"] >= 0):
            wrong = [f"weights[{place}] has an impossible shape or layer"]
        if not wrong and not re.fullmatch(r"[^\[\]]{1,1000}(\[[0-9]{1,9}\])?", row["name"]):
            wrong = [f"weights[{place}].name is no name of a matrix"]
        if wrong:
            yield f"weights is no weight table ({wrong[0]})"
            return
    n_scored = sum(row["rows"] * row["cols"] for row in rows)
    try:
        WeightTable.from_json(rows)
    except (TypeError, AttributeError, OverflowError) as e:
        yield f"weights is no weight table ({_shown(str(e))})"
        return
    if not rows:
        if manifest["kind"] == "map":
            yield "weights is empty"
    elif n_scored != manifest["model"]["n_scored_weights"]:
        yield f"weights hold {n_scored} weights, model.n_scored_weights says {manifest['model']['n_scored_weights']}"


def _changed(manifest: Mapping[str, Any]) -> Iterator[str]:
    if HASH in manifest and manifest[HASH] != manifest_hash(manifest):
        yield "it was changed after the run was written"
