"""What an installation brings: pinned with hashes, under licences that are known and bind nobody who uses harmviz."""

from __future__ import annotations

import json
import re
from email.message import Message
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harmviz.cli import main
from harmviz.commands import licences
from harmviz.commands.licences import Package, found, kind, licence_of, locked, objections, table

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
PIN = re.compile(r"^([\w.-]+)==([^\s;#\\]+)", re.MULTILINE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINNED = {canonical(name): found_version for name, found_version in PIN.findall(LOCK)}


def test_every_package_of_the_lock_has_hashes_and_the_file_names_no_registry() -> None:
    blocks = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) >= 90
    assert [b.split()[0] for b in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", b)] == []
    assert "://" not in LOCK


def test_the_lock_pins_what_requirements_pin() -> None:
    pins = PIN.findall(REQUIREMENTS)
    assert len(pins) >= 20
    assert {name: PINNED.get(canonical(name)) for name, _ in pins} == dict(pins), (
        "make the lock anew with the command in its first lines"
    )


def test_whatever_those_need_is_in_the_lock() -> None:
    """From requirement to requirement, as far as they are installed here."""
    lines = [line for text in REQUIREMENTS.splitlines() if (line := re.split(r"(^| +)#", text)[0])]
    asked = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()]
    waiting, seen = [canonical(r.name) for r in asked], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in requires(name) or []:
            needed, _, marker = line.partition(";")
            if "extra ==" in marker:
                continue
            begins = re.match(r"[\w.-]+", needed.strip())
            assert begins is not None, f"{name} asks for {line!r}"
            needed = canonical(begins[0])
            try:
                version(needed)
            except PackageNotFoundError:  # for another machine, or another Python
                continue
            waiting.append(needed)
    assert len(seen) > 60
    assert seen - PINNED.keys() == set()


def test_no_licence_is_unknown_or_binds() -> None:
    licence = found(locked(LOCK))
    assert len(licence) > 60
    assert objections(licence) == []


def test_the_table_says_what_the_packages_say() -> None:
    """Where another release is installed than the locked one, its licence may be told in other words."""
    lines = set(licences.TABLE.read_text(encoding="utf-8").splitlines())
    for package, licence in found(locked(LOCK)).items():
        if version(package.name).partition("+")[0] in package.versions:
            assert any(
                line.startswith(f"| {package.name} | {' / '.join(package.versions)} | {licence} |") for line in lines
            ), f"{package.name}: write docs/licences.md with `python -m harmviz licences`"


@pytest.mark.parametrize(
    ("expression", "asks"),
    [
        ("MIT", "permissive"),
        ("Apache-2.0 WITH LLVM-exception AND MIT", "permissive"),
        ("MPL-2.0 AND MIT", "binds changes of its own files"),
        ("LGPL-3.0-or-later", "copyleft"),
        ("MIT AND GPL-2.0-only", "copyleft"),
        ("MIT OR GPL-2.0-only", "permissive"),
        ("LicenseRef-Proprietary", "unknown"),
    ],
)
def test_what_an_expression_asks(expression: str, asks: str) -> None:
    assert kind(expression) == asks


def said(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT"),
        ([("License", "Apache 2.0 License")], "Apache-2.0"),
        ([("License", "Copyright (c) somebody, and a page of text"), ("Classifier", "License :: BSD License")],
         "BSD-3-Clause"),
        ([("License", "see the file")], None),
        ([], None),
    ],
)  # fmt: skip
def test_what_a_package_says_of_itself(fields: list[tuple[str, str]], licence: str | None) -> None:
    assert licence_of(said(*fields)) == licence


def test_where_the_metadata_are_silent_its_licence_file_speaks() -> None:
    assert licence_of(said(), ["MIT License", ""]) == "MIT"
    assert licence_of(said(("License", "ISC")), ["MIT License"]) == "ISC"
    assert licence_of(said(), ["", "Terms of use"]) is None


def test_a_licence_that_binds_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    bound, silent, free = (Package(name, ("1",)) for name in ("bound", "silent", "free"))
    monkeypatch.setattr(licences, "TABLE", tmp_path / "licences.md")
    monkeypatch.setattr(licences, "locked", lambda text: [bound, silent, free])
    monkeypatch.setattr(licences, "found", lambda packages: {bound: "GPL-3.0-only", silent: None, free: "MIT"})
    assert main(["licences", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["objections"] == ["bound: GPL-3.0-only", "silent: it names no licence that is known"]
    assert "bound: GPL-3.0-only; silent:" in err
    assert "| silent | 1 | not said | unknown |" in table({silent: None})


def test_a_table_that_differs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(licences, "TABLE", tmp_path / "licences.md")
    monkeypatch.setattr(licences, "locked", lambda text: [Package("pytest", ("1",))])
    assert main(["licences", "--check"]) == 2
    assert "differs" in capsys.readouterr().err
    assert not licences.TABLE.exists()
    assert main(["licences"]) == 0
    assert main(["licences", "--check"]) == 0
    monkeypatch.setattr(licences, "locked", lambda text: [Package("no-such-package", ("1",))])
    assert main(["licences"]) == 2
    assert "not installed here: no-such-package" in capsys.readouterr().err
