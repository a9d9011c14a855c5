"""The command line on terminals, pipes and disks as they are: one line, a sensible exit code, no traceback."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.worlds.damage import state_of
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "runs": ("runs",),
    "runs-json": ("runs", "--json"),
    "show": ("show", "latest"),
    "show-json": ("show", "latest", "--json"),
    "verify": ("verify", "latest"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds one run, of a model whose name is not ASCII."""
    from tests.worlds.fabricated import manifest

    folder = tmp_path_factory.mktemp("cache")
    make_run(folder / "runs", model={**manifest()["model"], "name": "modèle-Δ-模"})
    return folder


def ran(
    cache: Path,
    arguments: Sequence[str],
    *,
    out: str | int = subprocess.PIPE,
    err: str | int = subprocess.PIPE,
    limit: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[bytes]:
    """``python -m harmviz ARGUMENTS`` in a process of its own; ``out``, ``err``: where its output goes."""
    unset = [name for name, value in environment.items() if value == ""]
    env = {**os.environ, "HARMVIZ_CACHE": str(cache), "OMP_NUM_THREADS": "1", **environment}
    for name in unset:
        env.pop(name, None)
    with ExitStack() as opened:
        stdout, stderr = (
            opened.enter_context(Path(sink).open("wb")) if isinstance(sink, str) else sink for sink in (out, err)
        )
        return subprocess.run(
            [sys.executable, "-m", "harmviz", *arguments],
            cwd=ROOT,
            stdout=stdout,
            stderr=stderr,
            env=env,
            preexec_fn=limit,
            timeout=120,
            check=False,
        )


def one_line(done: subprocess.CompletedProcess[bytes], code: int, *said: str) -> None:
    """It ended with this code and one line on stderr that says all of ``said``."""
    err = (done.stderr or b"").decode()
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    assert done.returncode == code, err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    for part in said:
        assert part in lines[0]


# -- encodings --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_terminal_cannot_encode_is_ascii_and_json_stays_the_same_document(cache: Path, name: str) -> None:
    plain = ran(cache, COMMANDS[name], PYTHONIOENCODING="ascii")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.isascii()
    assert plain.stderr.isascii()
    full = ran(cache, COMMANDS[name], PYTHONIOENCODING="utf-8")
    assert full.returncode == 0
    if name.endswith("json"):
        assert json.loads(plain.stdout) == json.loads(full.stdout)
    elif name == "show":
        assert "ΔL" not in plain.stdout.decode()
        assert "modele-d-" in plain.stdout.decode()
        assert "modèle-Δ-模" in full.stdout.decode()


@pytest.mark.parametrize(
    "environment",
    [{"LANG": "C", "LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
    ids=["C", "C without UTF-8"],
)
def test_any_locale_will_do(cache: Path, environment: dict[str, str]) -> None:
    for arguments in (("show", "latest"), ("--help",), ("run", "--help")):
        done = ran(cache, arguments, **environment)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


def test_errors_are_said_in_ascii_too(cache: Path) -> None:
    done = ran(cache, ("show", "naïf-Δ"), PYTHONIOENCODING="ascii")
    one_line(done, 2, "no run named")
    assert done.stderr.isascii()


# -- where it cannot be written ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_under_stdout_is_one_line(cache: Path, name: str) -> None:
    one_line(ran(cache, COMMANDS[name], out="/dev/full"), 1, "No space left")


def test_a_full_disk_under_stderr_changes_nothing(cache: Path) -> None:
    done = ran(cache, ("show", "latest", "--json"), err="/dev/full")
    assert done.returncode == 0
    assert json.loads(done.stdout)["run_id"]
    assert ran(cache, ("show", "nothing"), err="/dev/full").returncode == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_pipe_is_no_failure(cache: Path, name: str) -> None:
    read, write = os.pipe()
    os.close(read)  # nobody reads, from the first byte on
    done = ran(cache, COMMANDS[name], out=write)
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_is_no_failure(cache: Path, stream: int) -> None:
    done = ran(cache, ("show", "latest", "--json"), limit=lambda: os.close(stream))
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    if stream == 2:
        assert json.loads(done.stdout)
        assert ran(cache, ("show", "nothing"), limit=lambda: os.close(2)).stdout == b""  # an error is no document


def _no_file_grows() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_limit_on_file_sizes_is_one_line_and_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    before = state_of(cache)
    target = tmp_path / "x.zip"
    done = ran(cache, ("runs", "export", "latest", "--out", str(target)), limit=_no_file_grows)
    one_line(done, 1, "ulimit -f")
    assert list(tmp_path.iterdir()) == []
    done = ran(cache, ("show", "latest", "--json"), out=str(tmp_path / "x.json"), limit=_no_file_grows)
    one_line(done, 1)
    assert state_of(cache) == before


# -- narrow, homeless, read-only --------------------------------------------------------------------------------------
def test_forty_columns_write_rows_downwards(cache: Path) -> None:
    lines = ran(cache, ("runs",), COLUMNS="40").stdout.decode().splitlines()
    assert "run: smollm2-135m-instruct-pyrit-0123456789" in lines
    assert "kind: map" in lines
    assert ran(cache, ("--help",), COLUMNS="40").returncode == 0
    wide = ran(cache, ("runs",), COLUMNS="200").stdout.decode().splitlines()
    assert wide[0].split() == ["run", "kind", "model", "created"]
    assert ran(cache, ("runs",), COLUMNS="").stdout.decode().splitlines() == wide  # a pipe has no width


def test_no_home_is_needed(cache: Path) -> None:
    for arguments in (("runs",), ("show", "latest"), ("verify", "latest")):
        assert ran(cache, arguments, HOME="").returncode == 0
    one_line(ran(cache, ("runs", "import", "~nobody-at-all/x.zip")), 2, "~")


def _rights_hold() -> None:
    """Takes from root, where a test runs as root, the right to write where the folder's rights forbid it."""
    if os.geteuid() == 0:
        import ctypes

        drop_from_bounding_set, dac_override = 24, 1
        ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override, 0, 0, 0)


def test_a_read_only_cache_is_read_and_refuses_in_one_line(cache: Path, tmp_path: Path) -> None:
    there = tmp_path / "cache"
    shutil.copytree(cache, there)
    before = state_of(there)
    folders = [there, *(p for p in there.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        for arguments in (("runs",), ("show", "latest"), ("verify", "latest")):
            done = ran(there, arguments, limit=_rights_hold)
            assert done.returncode == 0, done.stderr
        one_line(
            ran(there, ("runs", "delete", "smollm2-135m-instruct-pyrit-0123456789", "--yes"), limit=_rights_hold),
            2,
            "Permission denied",
        )
        archive = tmp_path / "x.zip"
        assert ran(there, ("runs", "export", "latest", "--out", str(archive)), limit=_rights_hold).returncode == 0
        one_line(ran(there, ("runs", "import", str(archive)), limit=_rights_hold), 2, "Permission denied")
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert state_of(there) == before
