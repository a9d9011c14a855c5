"""Imports point one way and never in a circle, heavy libraries are loaded only where they are needed, and every public
name resolves. No exceptions: a module that does not fit belongs elsewhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import harmviz
from harmviz.claims import CLAIMS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "harmviz"

#: What may import what, lowest first: a module imports its own layer and those below. A claim's modules stand in three
#: places: ``page`` draws, ``command`` is typed, all others measure and tell.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "paths", "files"),
    ("stats", "models", "access"),
    ("runs", "data"),
    ("scoring", "masks", "display"),
    ("generation", "judges"),
    ("tuning", "worker"),
    ("claims",),
    ("jobs", "preflight", "bench", "report"),
    ("ui",),
    ("playground", "learn", "claims.*.page"),
    ("presenter",),
    ("commands", "claims.*.command"),
    ("cli", "__main__"),
    ("app", "pages"),
)
#: May load torch when they are imported; everybody else inside functions, or not at all.
TORCH = (
    "models.load",
    "models.spread",
    "models.reading",
    "models.streaming",
    "models.differing",
    "scoring",
    "masks.apply",
    "generation",
)
#: Never load torch, not even inside functions: pages over stored runs stand on them.
NO_TORCH = (
    "errors",
    "paths",
    "files",
    "access",
    "stats",
    "runs",
    "masks",
    "display",
    "report",
    "ui",
    "learn",
    "app",
    "pages",
)
NO_TORCH_FACES = ("claim", "finding", "figures", "pictures", "objections")
STREAMLIT = ("ui", "playground", "learn", "presenter", "claims.*.page", "app", "pages")


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name below harmviz, or app / pages.x, path) of every module; the package's own lazy front door aside."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            yield name, path
    yield "app", ROOT / "app.py"
    for path in sorted((ROOT / "pages").glob("*.py")):
        yield f"pages.{path.stem}", path


@cache
def imports(path: Path, *, top_level: bool = False) -> frozenset[str]:
    """Absolute names of what a module imports; ``top_level`` leaves out what functions import when they are called.

    What stands under ``if TYPE_CHECKING`` is not imported.
    """
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
                continue
            if top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Import):
                names.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: imports are absolute"
                base = child.module or ""
                # ``from harmviz.ui import frame`` names a module, ``from harmviz.runs import Run`` an object.
                package = ROOT.joinpath(*base.split("."))
                submodules = {a.name for a in child.names if is_module(package / a.name)}
                names.update(f"{base}.{name}" for name in submodules)
                if len(submodules) < len(child.names):
                    names.add(base)
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(names)


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def own_imports(path: Path, *, top_level: bool = False) -> set[str]:
    """What of harmviz a module imports, named as ``modules`` names it."""
    return {i.removeprefix("harmviz.") for i in imports(path, top_level=top_level) if i.startswith("harmviz.")}


def belongs(name: str, places: tuple[str, ...]) -> str | None:
    """The most exact place that ``name`` is or lies in; ``claims.*.page`` is that module (or package) of any claim."""

    def inside(place: str) -> bool:
        parts, wanted = name.split("."), place.split(".")
        return len(parts) >= len(wanted) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=False))

    return max(filter(inside, places), key=len, default=None)


def layer(name: str) -> int:
    place = belongs(name, sum(LAYERS, ()))
    assert place is not None, f"{name} has no layer: give it one in {Path(__file__).name}"
    return next(i for i, names in enumerate(LAYERS) if place in names)


def no_torch(name: str) -> bool:
    face = name.split(".")[2:3] if name.startswith("claims.") else []
    return name != "masks.apply" and (belongs(name, NO_TORCH) is not None or bool(set(face) & set(NO_TORCH_FACES)))


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_point_one_way(name: str, path: Path) -> None:
    own = layer(name)
    if upward := sorted(i for i in own_imports(path) if layer(i) > own):
        pytest.fail(f"{name} (layer {own}) imports {', '.join(f'{i} (layer {layer(i)})' for i in upward)}")


def test_what_pages_share_knows_no_claim_but_through_the_list() -> None:
    known = {"claims", "claims.claim"}
    for name, path in modules():
        if belongs(name, ("ui",)):
            assert not {i for i in own_imports(path) if belongs(i, ("claims",))} - known, name


def test_no_import_goes_in_a_circle() -> None:
    """Imports inside functions count: they hide circles, they do not end them."""
    of = {name: own_imports(path) for name, path in modules()}
    assert circles(of) == []


def circles(of: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or around a corner (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(of.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1 or name in of.get(name, ()):
                groups.append(sorted(group))

    for name in sorted(of):
        if name not in index:
            visit(name)
    return groups


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: v if isinstance(v, str) else "")
def test_heavy_libraries_stay_where_they_belong(name: str, path: Path) -> None:
    def roots(*, top_level: bool) -> set[str]:
        return {i.partition(".")[0] for i in imports(path, top_level=top_level)}

    if not belongs(name, STREAMLIT):
        assert "streamlit" not in roots(top_level=False)
    if not belongs(name, TORCH):
        assert not {"torch", "transformers"} & roots(top_level=True)
    if no_torch(name):
        assert not {"torch", "transformers"} & roots(top_level=False)


def test_no_module_is_long() -> None:
    long = {name: n for name, path in modules() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 350}
    assert not long, "split by idea, or say less"


def test_what_pages_share_stays_small() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules() if belongs(name, ("ui",))}
    assert sum(lines.values()) <= 3500


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from harmviz.ui import frame\n")
    assert imports(path) == {"harmviz.ui.frame"}
    assert imports(path, top_level=True) == set()
    assert layer("ui.frame") > layer("runs.stored") < layer("masks.mask")
    assert layer("claims.scene.page") > layer("ui.frame") > layer("claims.scene.finding")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}}) == []


def loaded_after(code: str) -> set[str]:
    """Top-level packages in ``sys.modules`` after a fresh interpreter ran ``code``."""
    tail = "\nimport sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_harmviz_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "streamlit", "numpy", "pandas"}
    assert not heavy & loaded_after("import harmviz; dir(harmviz)")


def test_what_reads_runs_needs_neither_torch_nor_streamlit() -> None:
    names = [n for n, _ in modules() if no_torch(n) and not belongs(n, STREAMLIT)]
    code = "import importlib, harmviz\n" + "".join(f"importlib.import_module('harmviz.{n}')\n" for n in names)
    assert not {"torch", "transformers", "streamlit"} & loaded_after(code + "harmviz.open_run\nharmviz.PruneMask\n")


def test_the_list_of_claims_is_light() -> None:
    heavy = {"torch", "transformers", "streamlit", "numpy", "pandas", "plotly"}
    assert not heavy & loaded_after("from harmviz.claims import CLAIMS")


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_has_its_face(name: str) -> None:
    modules_of = {p.stem for p in (PACKAGE / "claims" / name).iterdir()}
    assert {"claim", "command", "finding"} <= modules_of
    assert CLAIMS[name].pages == () or {"page", "figures"} <= modules_of
    assert all((ROOT / "pages" / f"{page.file}.py").is_file() for page in CLAIMS[name].pages)


@pytest.mark.parametrize("name", harmviz.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(harmviz, name)
    assert value.__module__.startswith(harmviz._HOME[name])
    assert name in dir(harmviz)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = harmviz.scores  # type: ignore[attr-defined]
