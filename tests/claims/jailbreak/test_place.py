"""What is said of jailbreaks has one place: its own package, and few modules of it put the parts together."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: The name of a fetched file.
ELSEWHERE = {"harmviz/data/wheels.py"}


def test_few_files_name_the_claim() -> None:
    files = [ROOT / "app.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "harmviz").rglob("*.*")]
    text = [f for f in files if f.suffix in {".py", ".json", ".jsonl", ".css", ".svg", ".md", ".txt"}]
    named = {str(f.relative_to(ROOT)) for f in text if "jailbreak" in f.read_text(encoding="utf-8").lower()}
    modules = ("claim", "command", "measure", "objections", "page", "pictures")
    own = {f"harmviz/claims/jailbreak/{module}.py" for module in modules}
    assert named == ELSEWHERE | own | {"pages/jailbreaks.py"}
