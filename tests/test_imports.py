"""Imports point one way, torch and streamlit are loaded only where they are needed, and every public name resolves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harmviz

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "harmviz"

#: Lowest first. A module may import its own layer and those below. The longest matching name decides.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "paths", "weights", "refusal"),
    ("assets", "gguf", "models", "prompts", "attacks", "encoding", "splits", "store", "align.adapters", "align.names"),
    ("scoring", "masks"),
    ("evaluation", "generation"),
    ("figures", "experiments", "emergent", "pipeline", "align", "worker", "jobs", "preflight"),
    ("ui", "bench", "cli", "commands", "__main__"),
    ("app", "pages"),
)
#: May import torch (and transformers) when they are imported; everybody else inside functions, or not at all.
TORCH = (
    "models",
    "encoding",
    "scoring",
    "generation",
    "masks.apply",
    "evaluation",
    "pipeline",
    "experiments",
    "emergent",
    "align",
    "bench",
)
NUMPY_ONLY = ("store", "figures", "masks", "weights", "errors", "paths", "ui", "app", "pages")
STREAMLIT = ("ui", "app", "pages")


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


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Absolute names of what a module imports; ``top_level`` leaves out what functions import when they are called."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
                continue
            if top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: imports are absolute"
                base = child.module or ""
                # ``from harmviz.ui import frame`` names a module, ``from harmviz.runs import Run`` an object.
                package = ROOT.joinpath(*base.split("."))
                found.update(f"{base}.{a.name}" if (package / f"{a.name}.py").is_file() else base for a in child.names)
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def belongs(name: str, places: tuple[str, ...]) -> str | None:
    """The longest place that ``name`` is or lies in."""
    return max((p for p in places if name == p or name.startswith(f"{p}.")), key=len, default=None)


def layer(name: str) -> int:
    place = belongs(name, sum(LAYERS, ()))
    assert place is not None, f"{name} has no layer: give it one in {Path(__file__).name}"
    return next(i for i, names in enumerate(LAYERS) if place in names)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_point_one_way(name: str, path: Path) -> None:
    own = layer(name)
    below = {i.removeprefix("harmviz.") for i in imports(path) if i.startswith("harmviz.")}
    if upward := sorted(i for i in below if layer(i) > own):
        pytest.fail(f"{name} (layer {own}) imports {', '.join(f'{i} (layer {layer(i)})' for i in upward)}")


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: v if isinstance(v, str) else "")
def test_heavy_libraries_stay_where_they_belong(name: str, path: Path) -> None:
    def roots(*, top_level: bool) -> set[str]:
        return {i.partition(".")[0] for i in imports(path, top_level=top_level)}

    if not belongs(name, STREAMLIT):
        assert "streamlit" not in roots(top_level=False)
    if not belongs(name, TORCH):
        assert not {"torch", "transformers"} & roots(top_level=True)
    if belongs(name, NUMPY_ONLY) and name != "masks.apply":
        assert not {"torch", "transformers"} & roots(top_level=False)


def test_the_layer_check_sees_an_upward_import(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from harmviz.ui import frame\n")
    assert imports(path) == {"harmviz.ui.frame"}
    assert imports(path, top_level=True) == set()
    assert layer("ui.frame") > layer("store") < layer("masks.mask")


def loaded_after(code: str) -> set[str]:
    """Top-level packages in ``sys.modules`` after a fresh interpreter ran ``code``."""
    tail = "\nimport sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_harmviz_loads_nothing_heavy() -> None:
    assert not {"torch", "transformers", "streamlit", "numpy", "pandas"} & loaded_after("import harmviz; dir(harmviz)")


def test_store_weights_and_masks_need_neither_torch_nor_streamlit() -> None:
    names = ["harmviz.runs", "harmviz.models.weights", "harmviz.open_run", "harmviz.PruneMask"]
    names += [f"harmviz.{n}" for n, _ in modules() if n.startswith("masks.") and n != "masks.apply"]
    code = "import importlib, harmviz\n" + "".join(
        f"importlib.import_module({n!r})\n" if n.rpartition(".")[2] not in harmviz.__all__ else f"{n}\n" for n in names
    )
    assert not {"torch", "transformers", "streamlit"} & loaded_after(code)


@pytest.mark.parametrize("name", harmviz.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(harmviz, name)
    assert value.__module__.startswith(harmviz._HOME[name])
    assert name in dir(harmviz)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = harmviz.scores  # type: ignore[attr-defined]
