"""The command line: everything the pages can do, without a browser. Arguments here, work in ``harmviz.commands``.

Exit codes: 0 done, 2 bad input (one line on stderr: what, where, what to do), 1 a fault of harmviz or of the machine,
130 cancelled. ``--json`` prints one JSON document on stdout; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import signal
from collections.abc import Iterable, Sequence
from types import FrameType, ModuleType
from typing import NoReturn, TypeAlias

from harmviz.bench import BENCHES
from harmviz.bench.shapes import SHAPES
from harmviz.claims import CLAIMS, MAPPING, experiments
from harmviz.claims.claim import Claim, Option
from harmviz.claims.options import DATA_HELP, DATA_OPTIONS, MODEL_OPTIONS, REQUESTS_HELP
from harmviz.commands import terminal
from harmviz.errors import HarmvizError
from harmviz.models.assets import EMBEDDED
from harmviz.models.ranks import joined, one_voice


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _options(p: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    for o in options:
        p.add_argument(*o.names, **o.settings)


def _add(p: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    _options(p, options)
    _json_option(p)


def _json_option(p: argparse.ArgumentParser) -> None:
    p.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _parser_of(commands: _Commands, name: str, claim: Claim) -> argparse.ArgumentParser:
    words = "on several GPUs: torchrun --standalone --nproc-per-node N -m harmviz … (docs/speed.md)"
    return commands.add_parser(name, help=claim.help, epilog=words if claim.shares else None)


def _runs_actions(runs: argparse.ArgumentParser) -> None:
    actions = runs.add_subparsers(dest="action", metavar="ACTION", parser_class=_Parser)
    p = actions.add_parser("export", help="a run as one zip file")
    p.add_argument("run", metavar="RUN", help="id, unambiguous beginning of one, folder, or latest")
    p.add_argument("--out", default=None, metavar="F.zip", help="where to write it (default: RUN.zip here)")
    _json_option(p)
    p = actions.add_parser(
        "import", help="take in an exported run, or the folder of an older ladder; all of it is checked"
    )
    p.add_argument("archive", metavar="F.zip", help="an archive of `runs export`, or a folder with a ladder.json")
    _json_option(p)
    p = actions.add_parser("delete", help="delete a run, a damaged folder or unfinished work")
    p.add_argument("run", metavar="RUN", help="the whole id")
    p.add_argument("--yes", action="store_true", help="really")
    _json_option(p)
    p = actions.add_parser("slim", help="delete a ladder's checkpoints or a map's candidates, keep the results")
    p.add_argument("run", metavar="RUN", help="the whole id")
    p.add_argument("--yes", action="store_true", help="really")
    _json_option(p)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="python -m harmviz", description="Find, show and prune the weights that harmful generation hangs on."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    p = commands.add_parser("fetch", help="embedded model and data set into the asset cache, verified by sha256")
    _json_option(p)

    p = commands.add_parser("data", help="what would be read of your data: rows by set, what is left out and why")
    p.add_argument("source", metavar="FILE", help=DATA_HELP)
    _add(p, DATA_OPTIONS)

    _add(_parser_of(commands, "run", CLAIMS[MAPPING]), CLAIMS[MAPPING].options)

    p = commands.add_parser("runs", help="list the stored runs; export, import, delete or slim one")
    _json_option(p)
    _runs_actions(p)

    p = commands.add_parser("show", help="headline numbers of a run, with n, interval and controls")
    p.add_argument("run", nargs="?", default=None, metavar="RUN", help="id, beginning of one, folder, or latest")
    p.add_argument(
        "--claims",
        action="store_true",
        help="the paper's eight claims, each with its strongest objection and verdict (without RUN: committed runs)",
    )
    _json_option(p)

    p = commands.add_parser(
        "report", help="a run as one HTML file that opens offline: pictures, tables, method, manifest"
    )
    p.add_argument("run", metavar="RUN", help="id, unambiguous beginning of one, folder, or latest")
    p.add_argument("--out", default=None, metavar="F.html", help="where to write it (default: RUN.html here)")
    _json_option(p)

    p = commands.add_parser("mask", help="a mask out of a stored run or read off two checkpoints; what masks share")
    p.add_argument("run", nargs="?", default=None, metavar="RUN", help="a run, or a mask file to compare")
    p.add_argument(
        "--from-checkpoints",
        nargs=2,
        default=None,
        metavar=("BASE", "PRUNED"),
        help="the weights that are zero in the second model and not in the first, read from their files",
    )
    p.add_argument("--compare-with", default=None, metavar="RUN_OR_MASK", help="overlap, beside chance and ceiling")
    p.add_argument("--categories", default=None, metavar="a,b", help="harm categories, comma-separated, or all")
    p.add_argument("--combine", default="mean", choices=("mean", "union", "intersection", "difference"))
    p.add_argument("--q", type=float, default=None, help="fraction of scored weights to prune, e.g. 1e-5")
    p.add_argument("--p", type=float, default=0.01, help="fraction of weights protected by utility (0.01)")
    p.add_argument("--scope", default="global", choices=("global", "matrix"))
    p.add_argument("--contrast", default="none", choices=("none", "both"), help="both: contrastive selection")
    p.add_argument(
        "--from-model",
        action="store_true",
        help="score the sets again, with the run's model and data: any q, and the mean of any categories (minutes)",
    )
    _options(p, MODEL_OPTIONS)
    p.add_argument("--data", default=None, metavar="D", help="where the run's data are now, for --from-model")
    p.add_argument("--out", default=None, metavar="FILE", help="where to write the mask (.safetensors)")
    _json_option(p)

    p = commands.add_parser("eval", help="loss shift per set under a mask, beside a random control")
    p.add_argument("--mask", required=True, metavar="F", help="a mask file")
    _options(p, MODEL_OPTIONS)
    p.add_argument("--run", default=None, metavar="RUN", help="the mask's run: adds random and magnitude controls")
    p.add_argument(
        "--split",
        default=None,
        choices=("report",),
        help="report: on the report prompts of --run, with its settings, so that its stored rows come out again",
    )
    p.add_argument("--data", default=None, metavar="D", help=f"{DATA_HELP} (pyrit; the run's with --split)")
    _add(p, DATA_OPTIONS)

    p = commands.add_parser("generate", help="the intact model and masked variants side by side")
    _options(p, MODEL_OPTIONS)
    p.add_argument("--mask", action="append", default=[], metavar="F", help="a mask file; may be given several times")
    p.add_argument("--prompt", required=True, metavar="TEXT")
    p.add_argument(
        "--answer-begins", default="", metavar="TEXT", help="words that every answer begins with, e.g. 'Sure, here is'"
    )
    p.add_argument("--max-new-tokens", type=int, default=64, metavar="N")
    p.add_argument("--strength", type=float, default=1.0, metavar="S", help="0 intact … 1 zeroed (1)")
    p.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (0)")
    p.add_argument("--seed", type=int, default=0, metavar="K")
    _json_option(p)

    p = commands.add_parser("verify", help="hashes and schema of a run; --causal repeats the causal check")
    p.add_argument("run", metavar="RUN")
    p.add_argument("--causal", action="store_true", help="repeat the causal check on the model and data of the run")
    p.add_argument("--data", default=None, metavar="D", help="where the run's data are now, for --causal")
    p.add_argument("--category", default=None, metavar="C", help="--causal on this harm type's answers alone")
    _json_option(p)

    p = commands.add_parser("align", help="a ladder of safety-tuned checkpoints beside two control tunings, measured")
    p.add_argument(
        "--model", default=None, metavar="M", help=f"{EMBEDDED} (default), a folder, a .gguf file, or hub id@revision"
    )
    p.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="auto (default), cpu, cuda, or one GPU of several: cuda:1",
    )
    p.add_argument("--arms", default=None, metavar="a,b", help="among safety, helpful-only, refusal-style (all three)")
    p.add_argument(
        "--steps", type=int, default=480, metavar="N", help="SFT steps of 12 (480); DPO takes a sixteenth as many"
    )
    p.add_argument("--seed", type=int, default=0, metavar="K", help="of splits, batches, adapters and own answers (0)")
    p.add_argument(
        "--brief",
        action="store_true",
        help="for further seeds: keep the ends of the stages alone, and measure each on 24 requests a set",
    )
    p.add_argument(
        "--requests", default=None, metavar="FILE", help=f"harmful requests to measure on too: {REQUESTS_HELP}"
    )
    _options(p, DATA_OPTIONS)
    p.add_argument("--out", default=None, metavar="DIR", help="folder of runs (default: the cache's)")
    p.add_argument("--resume", action="store_true", help="go on where an interrupted ladder of these settings stopped")
    _json_option(p)

    p = commands.add_parser("experiment", help="one of the paper's claims, measured: a stored run of kind experiment")
    names = p.add_subparsers(dest="action", required=True, metavar="NAME", parser_class=_Parser)
    for name, claim in experiments().items():
        _add(_parser_of(names, name, claim), claim.options)

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

    p = commands.add_parser("docs", help="README and docs, as the committed runs say")
    p.add_argument("--check", action="store_true", help="only say whether they differ")
    _json_option(p)

    p = commands.add_parser("leaks", help="no text of the fetched data in git, stored runs, exports, reports, logs")
    p.add_argument("paths", nargs="*", metavar="PATH", help="check these alone: exports, logs, any file or folder")
    p.add_argument("--history", action="store_true", help="every version of every file that git keeps")
    p.add_argument("--reports", action="store_true", help="the report of every stored run too, made for the check")
    _json_option(p)

    p = commands.add_parser("licences", help="docs/licences.md: the licence of every package that is installed with it")
    p.add_argument("--check", action="store_true", help="only say whether it differs")
    _json_option(p)

    p = commands.add_parser("bench", help="timings on this machine, beside floors and plain ways")
    p.add_argument("what", nargs="?", choices=BENCHES, default=None)
    _options(p, MODEL_OPTIONS)
    p.add_argument("--shape", default=None, choices=tuple(SHAPES), help="a model of this shape with random weights")
    _json_option(p)
    return top


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _claim(arguments: argparse.Namespace) -> Claim | None:
    """The claim that the command measures, if it does."""
    if arguments.command == "run":
        return CLAIMS[MAPPING]
    return CLAIMS[arguments.action] if arguments.command == "experiment" else None


def _shares(arguments: argparse.Namespace) -> bool:
    """Whether the command shares its work among the processes of a ``torchrun`` job."""
    return (claim := _claim(arguments)) is not None and claim.shares


def _command(arguments: argparse.Namespace) -> ModuleType:
    """The module whose ``run`` does it: a claim's for experiments, else one of ``harmviz.commands``."""
    if (claim := _claim(arguments)) is not None:
        return claim.face("command")
    action = getattr(arguments, "action", None) or arguments.command
    module = "import_" if action == "import" else action  # the one action that is a word of Python
    return importlib.import_module(f"harmviz.commands.{module}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    What is raised by mistake goes on to Python, which shows where and ends with 1: a fault of harmviz.
    """
    terminal.prepare()
    try:
        code = _run(argv)
    except SystemExit as e:  # argparse: --help, or a mistake in the arguments
        raise SystemExit(terminal.finish(e.code if isinstance(e.code, int) else 0)) from None
    return terminal.finish(code)


def _run(argv: Sequence[str] | None) -> int:
    signal.signal(signal.SIGTERM, _interrupt)  # a polite kill ends like Ctrl-C: locks released, finished stages kept
    try:
        with one_voice():
            arguments = parser().parse_args(argv)
        with joined(_shares(arguments), terminal.tell) as leads:
            if leads:
                _command(arguments).run(arguments)
    except HarmvizError as e:
        terminal.tell(f"harmviz: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        terminal.tell("harmviz: cancelled; finished stages are kept, --resume goes on from there")
        return 130
    except (MemoryError, RuntimeError) as e:
        if isinstance(e, RuntimeError) and "home directory" in str(e):  # of pathlib, for a ~ that stands for nothing
            terminal.tell("harmviz: a path begins with ~, and there is no such home directory; write the path out")
            return 2
        if not isinstance(e, MemoryError) and type(e).__name__ != "OutOfMemoryError":  # torch's, without loading torch
            raise
        advice = "use a smaller model, --dtype bfloat16 or --device cpu; finished stages are kept"
        terminal.tell(f"harmviz: memory ran out; {advice}")
        return 1
    except BrokenPipeError:  # the reader of a pipe (head, less) has seen enough
        return 0
    except OSError as e:
        if e.errno not in terminal.REFUSED:
            raise
        terminal.tell(f"harmviz: {terminal.refusal(e)}")
        return 1
    return 0
