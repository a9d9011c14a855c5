"""Texts that try to run a script, to leave the page or to call another machine, and runs in which every text is one.

A payload that is executed calls ``window.pwn(number)`` or opens a dialog; one that is fetched asks ``evil.invalid``.
``LISTENER`` makes the page remember the first.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import save

from harmviz.claims.jailbreak.attacks import load_attacks
from harmviz.runs import Run, open_run
from harmviz.runs.manifest import HASH, MANIFEST
from tests.worlds import dissociation, emergent, jailbreak, scene
from tests.worlds.fabricated import make_run

#: Runs before every script of a page, and keeps what payloads did.
LISTENER = """
window.__pwned = [];
window.pwn = n => window.__pwned.push(String(n));
for (const name of ['alert', 'confirm', 'prompt', 'open', 'print']) window[name] = () => window.__pwned.push(name);
"""

#: What swallows the text behind it stands last.
PAYLOADS = (
    "<script>pwn(1)</script>",
    "<img src=x onerror=pwn(2)>",
    "<svg onload=pwn(3)>",
    "<svg><script>pwn(4)</script></svg>",
    "<svg><animate onbegin=pwn(5) attributeName=x dur=1s>",
    "<iframe srcdoc='<script>parent.pwn(6)</script>'></iframe>",
    "<iframe src=javascript:parent.pwn(7)></iframe>",
    "<a href=javascript:pwn(8) autofocus onfocus=pwn(8)>a</a>",
    "[a](javascript:pwn(9))",
    "[a](JaVaScRiPt&colon;pwn(10))",
    "![a](https://evil.invalid/11.png)",
    "<img src=https://evil.invalid/12.png>",
    "<details open ontoggle=pwn(13)>",
    "<input autofocus onfocus=pwn(14)>",
    "<video><source onerror=pwn(15)></video>",
    "<body onload=pwn(16)>",
    "<object data=data:text/html,<script>parent.pwn(17)</script>></object>",
    "<embed src=javascript:parent.pwn(18)>",
    "<base href=https://evil.invalid/>",
    "<meta http-equiv=refresh content='0;url=https://evil.invalid/20'>",
    "<link rel=stylesheet href=https://evil.invalid/21.css>",
    "<style>@import 'https://evil.invalid/22.css';</style>",
    "<form action=https://evil.invalid/23><button autofocus>b</button></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror=pwn(24)>",
    '"><img src=x onerror=pwn(25)>',
    "' onmouseover='pwn(26)' x='",
    "&lt;img src=x onerror=pwn(27)&gt;",
    "\\u003cimg src=x onerror=pwn(28)\\u003e",
    "%3Cimg%20src=x%20onerror=pwn(29)%3E",
    "{{constructor.constructor('pwn(30)')()}}${pwn(30)}#{pwn(30)}<%= pwn(30) %>",
    "%{customdata}%{x}<extra><img src=x onerror=pwn(31)></extra>",
    "$\\href{javascript:pwn(32)}{x}$ $$\\unicode{x3c}img src=x onerror=pwn(32)\\unicode{x3e}$$",
    "\u202e\u2066gnp.(33)nwp\u2069\u202c\u200f",
    "<b><i onclick=pwn(35)><sub><a href='data:text/html,<script>pwn(35)</script>' target=_blank>c</a>",
    ":red[x] :material/home: `c` **b** ~~s~~ | a | b |\u2028# h",
    "data:text/html;base64,PHNjcmlwdD5wd24oMzYpPC9zY3JpcHQ+",
    "javascript:pwn(37)//",
    "</div></article></span><img src=x onerror=pwn(38)>",
    "]]><!--><img src=x onerror=pwn(39)>-->",
    "</title></style></textarea></script><img src=x onerror=pwn(40)>",
    "<textarea><!--",
)
#: Only where control characters may stand: in answers and logs, in no name.
ANSI = "\x1b[2J\x1b]8;;javascript:pwn(34)\x07link\x1b]8;;\x07\x00\x07"
EVERY = " ".join(PAYLOADS)
#: In another order, so that what one payload swallows another name shows.
TURNED = " ".join(reversed(PAYLOADS))


def rewritten(run: Run, root: Path, words: Mapping[str, str], **manifest: Any) -> Run:
    """A copy of a run below ``root`` in which every word that is a key of ``words`` is its value, in results, score
    files, answers and manifest alike, with hashes that fit; ``manifest`` replaces keys of it."""
    folder = root / run.id
    shutil.copytree(run.path, folder)

    any_word = re.compile("|".join(map(re.escape, words)))

    def turned(value: Any) -> Any:
        if isinstance(value, str):
            return any_word.sub(lambda found: words[found[0]], value)
        if isinstance(value, dict):
            return {turned(k): turned(v) for k, v in value.items()}
        return [turned(v) for v in value] if isinstance(value, list) else value

    for name in run.manifest["files"]:
        path = folder / name
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            columns = [
                pa.array([turned(v) for v in column.to_pylist()], column.type)
                if pa.types.is_string(column.type)
                else column
                for column in table.columns
            ]
            pq.write_table(pa.table(columns, schema=table.schema), path)
        elif path.suffix == ".safetensors" and not name.startswith("masks/"):
            with safe_open(path, framework="numpy") as f:
                arrays = {turned(key): f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 - it is no dict
                header = {key: json.dumps(turned(json.loads(value))) for key, value in (f.metadata() or {}).items()}
            path.write_bytes(save(arrays, metadata=header or None))
        elif path.suffix == ".jsonl":
            lines = [json.dumps(turned(json.loads(line))) for line in path.read_text("utf-8").split("\n") if line]
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    kept = {"run_id", "schema_version", "kind", "created", "weights", "files", HASH}
    facts = {k: v if k in kept else turned(v) for k, v in run.manifest.items() if k != HASH} | manifest
    facts["files"] = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in run.manifest["files"]}
    (folder / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
    return open_run(folder)


def about(run: Run, name: str) -> dict[str, Any]:
    """Keys of a manifest in which whatever may be any text is hostile; ``name``: of its model."""
    data = run.manifest["data"]
    return {
        "model": {**run.manifest["model"], "name": name, "revision": TURNED, "dtype": PAYLOADS[1], "notes": [EVERY]},
        "data": {
            **data,
            "id": EVERY,
            "left_out": {TURNED: EVERY},
            "notes": [EVERY],
            "dropped": {EVERY: {TURNED: 3}},
        },
        "software": {EVERY: TURNED},
        "hardware": {"device": EVERY, EVERY: TURNED},
        "timings": {EVERY: 1.0},
        "digests": {EVERY: TURNED},
    }


def make_cache(cache: Path, mapped: Run) -> None:
    """A cache of runs, a job, a model and a mask that are hostile wherever they hold a text. ``mapped``: a small real
    map run, whose harm types are renamed."""
    root, made = cache / "runs", cache / "made"
    root.mkdir(parents=True)
    types = sorted({c for c in mapped.manifest["data"]["counts"] if c != "benign" and not c.startswith("safe")})
    # Whatever one of them swallows stands in another place of the next.
    n = len(PAYLOADS)
    shifted = {c: " ".join((PAYLOADS * 2)[7 * i % n : 7 * i % n + n]) for i, c in enumerate(types)}
    counts = mapped.manifest["data"]["counts"]
    renamed = {"counts": {shifted.get(c, c): n for c, n in counts.items()}}
    facts = about(mapped, EVERY)
    rewritten(mapped, root, shifted, **{**facts, "data": facts["data"] | renamed})
    _experiments(root, made, mapped.id)
    shutil.rmtree(made)
    for payload in PAYLOADS[:8]:
        (root / payload.replace("/", "∕")).mkdir()  # what lies among the runs and is none
    (cache / "models" / PAYLOADS[1]).mkdir(parents=True)
    (cache / "models" / PAYLOADS[1] / "config.json").write_text('{"model_type": "llama"}')
    _job(cache / "jobs" / "2026-01-02-030405-abcdef")


def _experiments(root: Path, made: Path, parent: str) -> None:
    attacks = tuple(
        replace(a, name=f"{i} {EVERY if i % 2 else TURNED}", description=EVERY, source=TURNED)
        for i, a in enumerate(load_attacks()[:4])
    )
    tested = jailbreak.make_experiment(made, attacks=attacks, answer=f"{_braced(EVERY)} {_braced(ANSI)}", parent=parent)
    rewritten(tested, root, {"privacy request": TURNED, "a note": EVERY}, **about(tested, EVERY))
    emerged = emergent.make_experiment(made, answer=_braced(EVERY), parent=parent)
    words = {"honesty": TURNED, "power": EVERY, "toys": EVERY, "offline-harm": TURNED}
    rewritten(emerged, root, words, **about(emerged, EVERY))
    records = [scene.recorded(f"{p} {EVERY}", EVERY, opening=TURNED) for p in scene.prompts()]
    played = scene.make_scene(made, records=records)
    rewritten(played, root, {"hate": EVERY}, **about(played, scene.ALIGNED))
    apart = dissociation.make_dissociation(made, parent)
    rewritten(apart, root, {"hurt": EVERY, "should_help": TURNED}, **about(apart, EVERY))


def _braced(text: str) -> str:
    """``text`` as a format string that gives it back."""
    return text.replace("{", "{{").replace("}", "}}")


def _job(folder: Path) -> None:
    """A job that failed, whose command, log and last word are hostile."""
    folder.mkdir(parents=True)
    when = "2026-01-02T03:04:05.000+00:00"
    record = {"arguments": ["run", "--model", EVERY, "--data", TURNED], "created": when, "started": when}
    (folder / "job.json").write_text(json.dumps(record))
    (folder / "log.txt").write_text(f"{ANSI}\n{EVERY}\nharmviz: {EVERY}\n")
    (folder / "result.json").write_text(json.dumps({"code": 2, "ended": when}))


__all__ = ["ANSI", "EVERY", "LISTENER", "PAYLOADS", "TURNED", "about", "make_cache", "make_run", "rewritten"]
