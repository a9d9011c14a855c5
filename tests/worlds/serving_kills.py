"""A process that serves (answers, takes runs in, hands runs and masks out, deletes) and is killed meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.worlds.kills import ROOT

#: Loads what serving needs once, then serves in children of its own and kills them at random moments. After each kill
#: every run in the store is whole, what has its final name is whole, and the next child gives the same answers.
_PROGRAM = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import torch, transformers
from harmviz.masks.mask import PruneMask
from harmviz.models.load import load_model
from harmviz.runs import broken_runs, list_runs, open_run, result_digest, verify_run
from harmviz.runs.archive import delete_run, export_run, import_run
from harmviz.worker import ModelKey, Visitor, Worker
from tests.worlds.crowd import alone, wishes

model, source, place, kills, seed = sys.argv[1], open_run(Path(sys.argv[2])), Path(sys.argv[3]), *map(int, sys.argv[4:])
root, out, said = place / "runs", place / "out", place / "said"
for folder in (root, out, said):
    folder.mkdir(parents=True)
archive, digest = place / "given.zip", result_digest(source)
export_run(source, archive)
whole, key = archive.read_bytes(), ModelKey(model, "float32", "cpu")
apart = load_model(model)
asked = wishes(apart, key, 5, max_new_tokens=12)
expected = [alone(apart, one) for one in asked]
masks = [pane.mask for one in asked for pane in one.panes if pane.mask is not None]
del apart
draw = random.Random(seed)
seen = {"kills": 0, "steps": {}, "wrong": [], "rounds": 0}

def serve():
    worker, visitor = Worker(), Visitor("somebody")
    assert worker.load(key).wait(60)
    n = 0
    while True:
        i = n % len(asked)
        step("answer")
        ticket = worker.submit(asked[i], visitor)
        assert ticket.ended.wait(60)
        got = ticket.snapshot()
        if got.state != "done" or tuple(pane.text for pane in got.panes) != expected[i]:
            (said / "wrong").write_text(f"another answer to {i}: {got.state} {got.error}")
        step("import")
        run = import_run(archive, root)
        step("export")
        export_run(run, out / "run.zip")
        step("mask")
        masks[n % len(masks)].save(out / "mask.safetensors")
        step("delete")
        delete_run(run.id, root)
        n += 1
        (said / "rounds").write_text(str(n))

def step(name):
    (said / "step").write_text(name)

def start():
    for left in said.iterdir():
        left.unlink()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            serve()
        except BaseException as e:
            (said / "wrong").write_text(f"it ended with {type(e).__name__}: {e}")
        os._exit(1)
    return child

def until(path, child):
    while not path.exists():
        if os.waitpid(child, os.WNOHANG)[0]:
            raise SystemExit((said / "wrong").read_text() if (said / "wrong").exists() else "it ended")
        time.sleep(0.002)

def check():
    if (said / "wrong").exists():
        seen["wrong"].append((said / "wrong").read_text())
    seen["wrong"] += [f"damaged: {b.name}" for b in broken_runs(root)]
    for run in list_runs(root):
        if verify_run(run) != [] or result_digest(run) != digest or run.taken_in is None:
            seen["wrong"].append(f"run {run.id}: {verify_run(run)}, taken in {run.taken_in}")
    if (out / "run.zip").exists() and (out / "run.zip").read_bytes() != whole:
        seen["wrong"].append("an archive that is not whole has its final name")
    if (out / "mask.safetensors").exists():
        digests = {mask.digest for mask in masks}
        if PruneMask.load(out / "mask.safetensors").digest not in digests:
            seen["wrong"].append("a mask that nobody wrote")

# Undisturbed: how long two rounds take, from its first answer on.
child = start()
until(said / "step", child)
began = time.monotonic()
while not (said / "rounds").exists() or int((said / "rounds").read_text() or 0) < 2:
    until(said / "rounds", child)
    time.sleep(0.002)
span = time.monotonic() - began
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
check()
while seen["kills"] < kills:
    child = start()
    until(said / "step", child)
    end = time.monotonic() + draw.uniform(0, span)
    while time.monotonic() < end and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.001)
    if (said / "wrong").exists():
        check()
        break
    os.kill(child, signal.SIGKILL)
    seen["kills"] += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    at = (said / "step").read_text() or "between"
    seen["steps"][at] = seen["steps"].get(at, 0) + 1
    seen["rounds"] += int((said / "rounds").read_text() or 0) if (said / "rounds").exists() else 0
    check()
# A day later, whoever takes a run in clears away what the killed ones left hidden.
hidden = [p for p in root.iterdir() if p.name.startswith((".import-", ".deleted-"))]
seen["hidden"] = len(hidden)
for folder in hidden:
    os.utime(folder, (time.time() - 90000, time.time() - 90000))
run = import_run(archive, root)
if verify_run(run) != [] or result_digest(run) != digest:
    seen["wrong"].append("the last import is not whole")
seen["left"] = [p.name for p in root.iterdir() if p.name.startswith((".import-", ".deleted-"))]
delete_run(run.id, root)
if list_runs(root):
    seen["wrong"].append("a run could not be deleted")
print(json.dumps(seen))
"""


def killed_while_serving(
    kills: int, model: Path, run: Path, place: Path, *, seed: int = 0, timeout: float = 1800.0
) -> dict[str, Any]:
    """What so many kills met, at moments drawn evenly over two rounds of serving: ``kills``, ``rounds`` (served whole),
    ``steps`` (what it was at → kills), ``wrong`` (what was not whole, or another answer), ``hidden`` (folders that lay
    there, out of sight), ``left`` (those that the next one did not clear away after a day)."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(model), str(run), str(place), str(kills), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    seen: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return seen
