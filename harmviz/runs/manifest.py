"""What a run says about itself: its id, and the explicit check of ``manifest.json``.

The manifest of a complete run, schema 1::

    schema_version  1
    run_id          readable slug + 10 hex digits of everything that determines the result
    kind            map | experiment
    parents         run ids this one was computed from
    created         UTC, ISO 8601
    model           {name, revision, weight_hash, dtype, n_parameters, n_scored_weights, family}, and in newer runs
                    {tokenizer_hash, config_hash, notes: [text]}; n_parameters counts all, also those that read images
    weights         WeightTable.to_json(); may be empty for an experiment over several models
    data            {id, hash, counts: {set: {split: n}}, left_out: {category: reason}, notes: [text]}
    method          {...} what was computed      parameters  {...} with which settings
    seeds           {name: number}
    software        {package: version}           hardware    {...}
    timings         {stage: seconds}
    files           {relative path: sha256} of everything beside the manifest
    digests         {name: digest} of results that two runs are compared by

``created``, ``timings``, ``hardware`` and ``software`` tell when and where; they do not take part in ``result_digest``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from harmviz.files import canonical_json
from harmviz.models.weights import WeightTable

SCHEMA_VERSION = 1
KINDS = ("map", "experiment")
MANIFEST = "manifest.json"
_NUMBER = (int, float)
_OPTIONAL_TEXT = (str, type(None))

#: Required keys and the types of their values.
_TOP: dict[str, type | tuple[type, ...]] = {
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
_MODEL: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "revision": _OPTIONAL_TEXT,
    "weight_hash": str,
    "dtype": str,
    "n_parameters": int,
    "n_scored_weights": int,
    "family": str,
}
_DATA: dict[str, type | tuple[type, ...]] = {"id": str, "hash": str, "counts": dict, "left_out": dict, "notes": list}
_VALUES: dict[str, type | tuple[type, ...]] = {"seeds": _NUMBER, "timings": _NUMBER, "digests": str, "software": str}


def run_id(slug_parts: Iterable[str], determinants: Mapping[str, Any]) -> str:
    """``<slug>-<10 hex digits>``: the readable parts, then sha256 over everything that determines the result.

    Two computations with equal ``determinants`` (model hash, data hash, method, parameters, seeds…) have one id.

    Raises:
        ValueError: no readable part is left, or a determinant is NaN or infinite.
        TypeError: a determinant is not JSON.
    """
    slug = "-".join(p for p in (re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.") for part in slug_parts) if p)
    if not slug:
        raise ValueError("slug_parts must hold at least one letter or digit")
    return f"{slug[:80].rstrip('-.')}-{sha256(canonical_json(dict(determinants)).encode()).hexdigest()[:10]}"


def check_run_id(name: str) -> None:
    """Refuses a name that could not be a folder of its own below the runs' folder.

    Raises:
        ValueError: path separators, a leading dot, or anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name):
        raise ValueError(
            f"run id must be letters, digits, '.', '_' or '-' and start with a letter or digit, got {name!r}"
        )


def _wrong_types(where: str, value: Mapping[str, Any], keys: Mapping[str, type | tuple[type, ...]]) -> list[str]:
    problems = []
    for key, allowed in keys.items():
        if key not in value:
            problems.append(f"{where}{key} is missing")
        elif not isinstance(value[key], allowed) or (isinstance(value[key], bool) and allowed is not bool):
            names = " or ".join(t.__name__ for t in (allowed if isinstance(allowed, tuple) else (allowed,)))
            problems.append(f"{where}{key} must be {names}, got {type(value[key]).__name__}")
    return problems


def _bad_values(manifest: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key}.{name} must be {' or '.join(t.__name__ for t in (want if isinstance(want, tuple) else (want,)))}"
        for key, want in _VALUES.items()
        for name, value in manifest[key].items()
        if not isinstance(value, want) or isinstance(value, bool)
    ]
    for split, counts in manifest["data"]["counts"].items():
        if not isinstance(counts, dict) or any(type(n) is not int or n < 0 for n in counts.values()):
            problems.append(f"data.counts.{split} must map each split to a whole number")
    problems += [
        f"data.left_out.{c} must be text" for c, why in manifest["data"]["left_out"].items() if not isinstance(why, str)
    ]
    for path, digest in manifest["files"].items():
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            problems.append(f"files.{path} is not a sha256")
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            problems.append(f"files.{path} points outside the run")
    return problems


def _bad_weights(manifest: Mapping[str, Any]) -> list[str]:
    try:
        table = WeightTable.from_json(manifest["weights"])
        n_scored = table.n_weights
    except (TypeError, AttributeError) as e:
        return [f"weights is no weight table ({e})"]
    if not len(table):
        return ["weights is empty"] if manifest["kind"] == "map" else []
    if n_scored != manifest["model"]["n_scored_weights"]:
        return [f"weights hold {n_scored} weights, model.n_scored_weights says {manifest['model']['n_scored_weights']}"]
    return []


def manifest_problems(manifest: Any) -> list[str]:
    """Everything that breaks schema 1, one line each; an empty list means that the manifest may be relied on."""
    if not isinstance(manifest, dict):
        return ["the manifest must be a JSON object"]
    if "schema_version" in manifest and manifest["schema_version"] != SCHEMA_VERSION:
        version = manifest["schema_version"]
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        return [f"schema {version!r} cannot be read here ({'update harmviz' if newer else f'need {SCHEMA_VERSION}'})"]
    problems = _wrong_types("", manifest, _TOP)
    if problems:
        return problems
    if manifest["kind"] not in KINDS:
        problems.append(f"kind must be one of {', '.join(KINDS)}, got {manifest['kind']!r}")
    problems += _wrong_types("model.", manifest["model"], _MODEL) + _wrong_types("data.", manifest["data"], _DATA)
    if problems:
        return problems
    return _bad_values(manifest) + _bad_weights(manifest)
