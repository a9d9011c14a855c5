"""The command line: everything the pages can do, without a browser. Arguments here, work in ``harmviz.commands``.

Exit codes: 0 done, 2 bad input (one line on stderr: what, where, what to do), 1 a fault of harmviz or of the machine,
130 cancelled. ``--json`` prints one JSON document on stdout; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from harmviz.errors import HarmvizError
from harmviz.models.assets import EMBEDDED

BENCHES = ("scoring", "masks", "toggle", "decode", "ui")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _model_options(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--model", default=None, metavar="M", help=f"{EMBEDDED} (default), a folder, a .gguf file, or hub id@revision"
    )
    p.add_argument("--dtype", default="auto", metavar="T", help="auto (default), float32 or bfloat16")
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


def _json_option(p: argparse.ArgumentParser) -> None:
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _runs_actions(runs: argparse.ArgumentParser) -> None:
    actions = runs.add_subparsers(dest="action", metavar="ACTION", parser_class=_Parser)
    p = actions.add_parser("export", help="a run as one zip file")
    p.add_argument("run", metavar="RUN", help="id, unambiguous beginning of one, folder, or latest")
    p.add_argument("--out", default=None, metavar="F.zip", help="where to write it (default: RUN.zip here)")
    _json_option(p)
    p = actions.add_parser("import", help="take in an exported run; everything in it is checked first")
    p.add_argument("archive", metavar="F.zip")
    _json_option(p)
    p = actions.add_parser("delete", help="delete a run, a damaged folder or unfinished work")
    p.add_argument("run", metavar="RUN", help="the whole id")
    p.add_argument("--yes", action="store_true", help="really")
    _json_option(p)


def _experiment_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--seed", type=int, default=0, metavar="K", help="of draws, choices and intervals (0)")
    p.add_argument("--out", default=None, metavar="DIR", help="folder of runs (default: the cache's)")
    p.add_argument(
        "--resume", action="store_true", help="go on where an interrupted experiment of these settings stopped"
    )
    _json_option(p)


def _compression(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "checkpoints",
        nargs="*",
        metavar="CHECKPOINT",
        help="models by name, first to last in training; all are compared with the first",
    )
    p.add_argument(
        "--ladder",
        nargs="+",
        action="extend",
        default=[],
        metavar="L",
        help="ladders of `align`, one per tuning seed: folders or ids",
    )
    p.add_argument(
        "--preset",
        default=None,
        metavar="NAME",
        help="published series: olmo3-7b, llama-3.1-8b, qwen2.5-14b, qwen2.5-32b",
    )
    p.add_argument(
        "--at",
        default="ends",
        metavar="A",
        help="checkpoints of each arm: ends (default), all, or names such as sft-30,safety-dpo-20",
    )
    p.add_argument(
        "--splits", type=int, default=None, metavar="N", help="scoring splits (one a ladder; 3 without ladders)"
    )
    p.add_argument("--data", default="pyrit", metavar="D", help="pyrit (default), builtin, or a .jsonl/.csv file")
    p.add_argument("--samples", type=int, default=None, metavar="N", help="answers scored per category and split (8)")
    p.add_argument(
        "--held-out",
        type=int,
        default=None,
        metavar="N",
        help="answers measured per category and split (6), and as many same-topic safe ones",
    )
    p.add_argument("--max-response-tokens", type=int, default=None, metavar="N", help="where responses are cut (64)")
    p.add_argument(
        "--q", default=None, metavar="Q,Q", help="fractions pruned (1e-6,5e-6,1e-5; contrastive 1e-5,2e-5,5e-5)"
    )
    p.add_argument(
        "--set-q",
        type=float,
        default=None,
        metavar="Q",
        help="fraction at which the categories' own masks are compared (1e-4)",
    )
    _model_options(p)
    _experiment_options(p)


def _dissociation(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "run", metavar="RUN", help="the map run whose masks are tried: id, beginning of one, folder, or latest"
    )
    p.add_argument(
        "--data",
        default=None,
        metavar="D",
        help="the run's data: pyrit, builtin, or a .jsonl/.csv file (default: what the run names)",
    )
    p.add_argument(
        "--draws",
        type=int,
        default=2,
        metavar="N",
        help="random controls of each mask, measured on a third of the items (2)",
    )
    p.add_argument(
        "--pairs", type=int, default=None, metavar="N", help="harmful/harmless request pairs asked about (all 64)"
    )
    p.add_argument("--prompts", type=int, default=None, metavar="N", help="held-out prompts of each set at most (all)")
    _model_options(p)
    _experiment_options(p)


def _jailbreak(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "run", metavar="RUN", help="the map run whose masks are tried: id, beginning of one, folder, or latest"
    )
    p.add_argument(
        "--attacks",
        default=None,
        metavar="a,b",
        help="ids of built-in attacks, or a .jsonl file of your own (all built-in ones)",
    )
    p.add_argument(
        "--requests",
        default="builtin",
        metavar="S",
        help="harmful requests: builtin (mild), report (of the run's own data), or both: builtin,report",
    )
    p.add_argument(
        "--data",
        default=None,
        metavar="D",
        help="the .jsonl/.csv file that the run was made on, where it was one of your own",
    )
    p.add_argument("--harmful", type=int, default=64, metavar="N", help="harmful requests at most (64)")
    p.add_argument("--benign", type=int, default=32, metavar="N", help="benign requests at most (32)")
    p.add_argument("--max-new-tokens", type=int, default=64, metavar="N", help="length of an answer at most (64)")
    p.add_argument(
        "--scene",
        default=None,
        metavar="RUN",
        help="a stage scene of that run: its guarded mask is tried as well, and the random ones are as large as it",
    )
    p.add_argument("--draws", type=int, default=2, metavar="N", help="random masks (2)")
    p.add_argument(
        "--q", type=float, default=None, help="fraction of scored weights to prune (default: the run's own choice)"
    )
    p.add_argument("--p", type=float, default=None, help="fraction of weights protected by utility; belongs to --q")
    p.add_argument(
        "--judge",
        action="append",
        default=None,
        metavar="NAME",
        help="beside the keyword list: offline-refusal, offline-harm (both by default), endpoint, endpoint-refusal, hub-llama-guard and others (`judge evaluate` lists them); keyword: none beside it; may be given several times",
    )
    _model_options(p)
    _experiment_options(p)


def _scene(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "run",
        metavar="RUN",
        help="the map run of the aligned model whose masks are tried: id, beginning of one, folder, or latest",
    )
    p.add_argument(
        "--opener", default="Sure, here is", metavar="TEXT", help="words put into the answer's mouth (Sure, here is)"
    )
    p.add_argument("--requests", type=int, default=64, metavar="N", help="requests reported on, of each set (64)")
    p.add_argument(
        "--choosing", type=int, default=32, metavar="N", help="other requests that the mask is chosen by (32)"
    )
    p.add_argument(
        "--sets",
        default="advbench,mild",
        metavar="a,b",
        help="advbench (fetched) and mild (built in); the first is the one quoted",
    )
    p.add_argument("--max-new-tokens", type=int, default=48, metavar="N", help="length of an answer (48)")
    p.add_argument("--q", default=None, metavar="a,b", help="fractions tried (5e-6,1e-5,1.5e-5,2e-5,4e-5)")
    p.add_argument("--p", default=None, metavar="a,b", help="protected fractions tried (0.01,0.05)")
    p.add_argument("--draws", type=int, default=3, metavar="N", help="of the random control (3)")
    p.add_argument("--offered", type=int, default=8, metavar="N", help="mild requests recorded for the stage (8)")
    _model_options(p)
    _experiment_options(p)


def _emergent(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "run",
        nargs="?",
        default=None,
        metavar="RUN",
        help="a map run of the model: adds its general harm mask to the weight-change part",
    )
    _model_options(p)
    p.add_argument(
        "--domain", default="money", metavar="D", help="narrow domain: money (default), car, kitchen, or a .jsonl file"
    )
    p.add_argument("--arms", default=None, metavar="a,b", help="besides base and narrow-bad; default: all")
    p.add_argument("--seeds", type=int, default=3, metavar="N", help="whole repetitions, counted from --seed (3)")
    p.add_argument("--method", default="lora", metavar="M", help="lora (default) or full")
    p.add_argument("--epochs", type=int, default=1, metavar="N", help="passes over the tuning rows (1)")
    p.add_argument(
        "--steps", type=int, default=None, metavar="N", help="optimiser steps of 8 rows, instead of --epochs"
    )
    p.add_argument(
        "--rate", type=float, default=None, metavar="R", help="peak learning rate (default: that of the method)"
    )
    p.add_argument("--rank", type=int, default=8, metavar="R", help="of the adapters (8)")
    p.add_argument("--q", type=float, default=2e-5, help="fraction of scored weights to prune (2e-5)")
    p.add_argument("--p", type=float, default=0.01, help="fraction of weights protected by utility (0.01)")
    p.add_argument("--dose", default=None, metavar="q,q", help="further fractions for pruned-held")
    p.add_argument("--free", type=int, default=12, metavar="N", help="questions answered freely (12)")
    p.add_argument(
        "--judge", default="offline-harm", metavar="J", help="of free answers: offline-harm (default), endpoint or none"
    )
    _experiment_options(p)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="python -m harmviz", description="Find, show and prune the weights that harmful generation hangs on."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    p = commands.add_parser("fetch", help="embedded model and data set into the asset cache, verified by sha256")
    _json_option(p)

    p = commands.add_parser("run", help="score a model, select masks, measure their effects: a stored run")
    _model_options(p)
    p.add_argument("--data", default="pyrit", metavar="D", help="pyrit (default), builtin, or a .jsonl/.csv file")
    p.add_argument("--samples", type=int, default=24, metavar="N", help="responses scored per category at most (24)")
    p.add_argument("--seed", type=int, default=0, metavar="K", help="of splits, choices, draws and intervals (0)")
    p.add_argument(
        "--q-max",
        type=float,
        default=None,
        metavar="Q",
        help="largest fraction selectable later (1e-4; less for models beyond 1B)",
    )
    p.add_argument(
        "--skip-tokens", type=int, default=0, metavar="K", help="response openers left out of the loss: 0 or 8"
    )
    p.add_argument("--max-response-tokens", type=int, default=96, metavar="N", help="where responses are cut (96)")
    p.add_argument("--out", default=None, metavar="DIR", help="folder of runs (default: the cache's)")
    p.add_argument("--resume", action="store_true", help="go on where an interrupted run of these settings stopped")
    _json_option(p)

    p = commands.add_parser("runs", help="list the stored runs; export, import or delete one")
    _json_option(p)
    _runs_actions(p)

    p = commands.add_parser("show", help="headline numbers of a run, with n, interval and controls")
    p.add_argument("run", metavar="RUN", help="id, unambiguous beginning of one, folder, or latest")
    _json_option(p)

    p = commands.add_parser("mask", help="export a mask out of a stored run")
    p.add_argument("run", metavar="RUN")
    p.add_argument("--categories", required=True, metavar="a,b", help="harm categories, comma-separated, or all")
    p.add_argument("--combine", default="mean", choices=("mean", "union", "intersection", "difference"))
    p.add_argument("--q", type=float, required=True, help="fraction of scored weights to prune, e.g. 1e-5")
    p.add_argument("--p", type=float, default=0.01, help="fraction of weights protected by utility (0.01)")
    p.add_argument("--scope", default="global", choices=("global", "matrix"))
    p.add_argument("--contrast", default="none", choices=("none", "both"), help="both: contrastive selection")
    p.add_argument("--out", required=True, metavar="FILE", help="where to write the mask (.safetensors)")
    _json_option(p)

    p = commands.add_parser("eval", help="loss shift per set under a mask, beside a random control")
    p.add_argument("--mask", required=True, metavar="F", help="a mask file")
    _model_options(p)
    p.add_argument("--run", default=None, metavar="RUN", help="the mask's run: adds random and magnitude controls")
    p.add_argument("--data", default="pyrit", metavar="D")
    _json_option(p)

    p = commands.add_parser("generate", help="the intact model and masked variants side by side")
    _model_options(p)
    p.add_argument("--mask", action="append", default=[], metavar="F", help="a mask file; may be given several times")
    p.add_argument("--prompt", required=True, metavar="TEXT")
    p.add_argument("--max-new-tokens", type=int, default=64, metavar="N")
    p.add_argument("--strength", type=float, default=1.0, metavar="S", help="0 intact … 1 zeroed (1)")
    p.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (0)")
    p.add_argument("--seed", type=int, default=0, metavar="K")
    _json_option(p)

    p = commands.add_parser("verify", help="hashes and schema of a run; --causal repeats the causal check")
    p.add_argument("run", metavar="RUN")
    p.add_argument("--causal", action="store_true", help="repeat the causal check on the model and data of the run")
    _json_option(p)

    p = commands.add_parser("align", help="a ladder of safety-tuned checkpoints beside two control tunings, measured")
    p.add_argument(
        "--model", default=None, metavar="M", help=f"{EMBEDDED} (default), a folder, a .gguf file, or hub id@revision"
    )
    p.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    p.add_argument("--arms", default=None, metavar="a,b", help="among safety, helpful-only, refusal-style (all three)")
    p.add_argument(
        "--steps", type=int, default=320, metavar="N", help="SFT steps of 8 (320); DPO takes an eighth as many"
    )
    p.add_argument("--seed", type=int, default=0, metavar="K", help="of splits, batches, adapters and own answers (0)")
    p.add_argument(
        "--brief",
        action="store_true",
        help="for further seeds: keep the ends of the stages alone, and measure each on 24 requests a set",
    )
    p.add_argument("--out", default=None, metavar="DIR", help="folder of ladders (default: the cache's)")
    p.add_argument("--resume", action="store_true", help="go on where an interrupted ladder of these settings stopped")
    _json_option(p)

    p = commands.add_parser("experiment", help="one of the paper's claims, measured: a stored run of kind experiment")
    names = p.add_subparsers(dest="action", required=True, metavar="NAME", parser_class=_Parser)
    _compression(
        names.add_parser(
            "compression", help="does alignment concentrate the harm weights? along checkpoints of one model"
        )
    )
    _dissociation(names.add_parser("dissociation", help="does the pruned model still recognise, explain and refuse?"))
    _jailbreak(names.add_parser("jailbreak", help="attacks against masks: what gets through, and what it costs"))
    _emergent(names.add_parser("emergent", help="narrow fine-tuning with and without prior pruning, measured broadly"))
    _scene(
        names.add_parser(
            "scene", help="the stage scene: a talked-into answer, and the mask that makes the model decline again"
        )
    )

    p = commands.add_parser(
        "judge", help="train the offline judges from human labels; what each judge's verdicts are worth"
    )
    tasks = p.add_subparsers(dest="task", required=True, metavar="TASK", parser_class=_Parser)
    t = tasks.add_parser("train", help="train harm and refusal judge on the fetched labels, cross-validated by request")
    t.add_argument("--seed", type=int, default=0, metavar="K", help="of the folds (0)")
    t.add_argument(
        "--out", default=None, metavar="DIR", help="folder for the judges (default: those that ship with harmviz)"
    )
    _json_option(t)
    t = tasks.add_parser("evaluate", help="measured quality of all judges; --judge runs one on the human labels")
    t.add_argument(
        "--judge", default=None, metavar="NAME", help="e.g. keyword, offline-harm, endpoint, hub-llama-guard"
    )
    t.add_argument("--limit", type=int, default=None, metavar="N", help="the first N labelled answers only")
    _json_option(t)

    p = commands.add_parser("bench", help="timings on this machine")
    p.add_argument("what", nargs="?", choices=BENCHES, default=None)
    _json_option(p)
    return top


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)  # a polite kill ends like Ctrl-C: locks released, finished stages kept
    try:
        action = getattr(arguments, "action", None) or arguments.command
        module = "import_" if action == "import" else action  # the one action that is a word of Python
        place = f"claims.{module}.command" if arguments.command == "experiment" else f"commands.{module}"
        command = importlib.import_module(f"harmviz.{place}")
        command.run(arguments)
    except HarmvizError as e:
        print(f"harmviz: {e}", file=sys.stderr)
        return e.exit_code
    except ValueError as e:  # a setting out of range: the message names it, its value and what is allowed
        print(f"harmviz: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("harmviz: cancelled; finished stages are kept, --resume goes on from there", file=sys.stderr)
        return 130
    except (MemoryError, RuntimeError) as e:
        if not isinstance(e, MemoryError) and type(e).__name__ != "OutOfMemoryError":  # torch's, without loading torch
            raise
        print(
            "harmviz: memory ran out; use a smaller model, --dtype bfloat16 or --device cpu; finished stages are kept",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # the reader of a pipe (head, less) has seen enough
        return 0
    return 0
