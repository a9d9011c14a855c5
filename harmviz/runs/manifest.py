"""What a run says about itself: its id, its manifest, and the manifest's own hash (its check: ``manifest_check``).

The manifest of a complete run, schema 1::

    schema_version  1
    run_id          readable slug + 10 hex digits of everything that determines the result
    kind            map | experiment
    parents         run ids this one was computed from
    created         UTC, ISO 8601
    model           {name, revision, weight_hash, dtype, n_parameters, n_scored_weights, family}, and in newer runs
                    {tokenizer_hash, config_hash, notes: [text]}; n_parameters counts all, also those that read images
    weights         WeightTable.to_json(); may be empty for an experiment over several models
    data            {id, hash, counts: {set: {split: n}}, left_out: {category: reason}, notes: [text]}; where rows
                    were left out also dropped: {set: {reason: n}}
    method          {...} what was computed      parameters  {...} with which settings
    seeds           {name: number}
    software        {package: version}           hardware    {...}
    timings         {stage: seconds}
    files           {relative path: sha256} of everything beside the manifest
    let_go          {relative path: sha256} of what was deleted since (`runs slim`); most runs have none
    digests         {name: digest} of results that two runs are compared by
    manifest_hash   sha256 over all of the above; older runs have none

``created``, ``timings``, ``hardware`` and ``software`` tell when and where; they do not take part in ``result_digest``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from harmviz.files import canonical_json

SCHEMA_VERSION = 1
KINDS = ("map", "experiment")
MANIFEST = "manifest.json"
#: The manifest's hash of itself.
HASH = "manifest_hash"
#: Files that were deleted after the run was made, on purpose.
LET_GO = "let_go"
#: What a map's masks are selected from.
CANDIDATES = "candidates.safetensors"


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


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """sha256 over everything a manifest says but this hash itself.

    It finds out a change made by accident or by hand; who wants to deceive computes it again.

    Raises:
        ValueError, TypeError: the manifest is not JSON.
    """
    return sha256(canonical_json({key: value for key, value in manifest.items() if key != HASH}).encode()).hexdigest()


def sealed_again(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A changed manifest with the hash that it has now; one that never had any gets none."""
    return {**manifest, HASH: manifest_hash(manifest)} if is_covered(manifest) else dict(manifest)


def is_covered(manifest: Mapping[str, Any]) -> bool:
    """Whether a change of the manifest itself would show: runs of an older harmviz carry no hash of it."""
    return HASH in manifest
