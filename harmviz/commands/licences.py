"""``licences``: under which licence everything stands that an installation brings, as docs/licences.md lists it.

The packages are those of requirements.lock; a licence is what the installed package says of itself: its SPDX expression
where it has one, else the licence that its classifiers, its text or the heading of its licence file name. Ends with 2
where a package says none that is known, or one that would bind harmviz (GPL, LGPL, AGPL). MPL-2.0 binds changes of the
package's own files alone.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

from harmviz.commands.output import print_json, say
from harmviz.errors import DataInvalid
from harmviz.files import write_atomic
from harmviz.paths import PACKAGE

LOCK = PACKAGE.parent / "requirements.lock"
TABLE = PACKAGE.parent / "docs" / "licences.md"

PERMISSIVE = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-CMU"}
    | {"PSF-2.0", "Zlib"}
)
FILE_LEVEL = frozenset({"MPL-2.0"})
#: Names that older packages write in place of an SPDX expression, in their text or their classifier → the expression.
_SPOKEN = {
    "apache": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
#: What torch's Linux build for NVIDIA GPUs brings along, and a build for the CPU does not.
_GPU = re.compile(r"(nvidia|cuda)-")
_ELSEWHERE = re.compile(r"sys_platform == '(win32|emscripten)'")
_LINE = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[^ ;\\]+) *(?:; *(?P<marker>[^\\]+?))? *\\?$")
_KINDS = ("permissive", "binds changes of its own files", "copyleft", "unknown")


@dataclass(frozen=True)
class Package:
    """A package of the lock file. ``versions``: more than one where Python versions need different ones."""

    name: str
    versions: tuple[str, ...]


def locked(text: str) -> list[Package]:
    """The packages of a lock file that are installed on Linux or macOS, by name; those for GPUs alone left out."""
    versions: dict[str, list[str]] = {}
    for line in text.splitlines():
        pin = _LINE.match(line)
        if pin and not _GPU.match(pin["name"]) and not _ELSEWHERE.search(pin["marker"] or ""):
            versions.setdefault(pin["name"], []).append(pin["version"])
    return [Package(name, tuple(found)) for name, found in sorted(versions.items())]


def licence_of(said: Message, headings: Sequence[str] = ()) -> str | None:
    """The SPDX expression of a package's metadata; None where it names no licence that is known here.

    ``headings``: first lines of its licence files, which count where the metadata are silent.
    """
    texts = [said.get("License-Expression"), said.get("License")]
    texts += [c.rpartition(" :: ")[2] for c in said.get_all("Classifier") or [] if c.startswith("License :: ")]
    texts += headings
    for text in filter(None, texts):
        expression = _SPOKEN.get(text.strip().lower(), text.strip())
        if kind(expression) != "unknown":
            return expression
    return None


def _heading(installed: Distribution, file: str) -> str:
    """The first line of a licence file of the package; empty where it has none."""
    lines = (installed.read_text(f"licenses/{file}") or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def kind(expression: str) -> str:
    """What an SPDX expression asks: of an OR the freest part counts, of an AND the strictest."""
    if " AND " in expression:
        return max((kind(part.strip("() ")) for part in expression.split(" AND ")), key=_KINDS.index)
    if " OR " in expression:
        return min((kind(part.strip("() ")) for part in expression.split(" OR ")), key=_KINDS.index)
    licence = expression.partition(" WITH ")[0]
    if licence in PERMISSIVE:
        return _KINDS[0]
    if licence in FILE_LEVEL:
        return _KINDS[1]
    return _KINDS[2] if re.search(r"(GPL|EUPL|OSL|SSPL|CC-BY-(SA|NC))", licence) else _KINDS[3]


def found(packages: Iterable[Package]) -> dict[Package, str | None]:
    """Package → its licence (None: none that is known); packages that are not installed here are left out."""
    licences: dict[Package, str | None] = {}
    for package in packages:
        try:
            installed = distribution(package.name)
        except PackageNotFoundError:
            continue
        said = cast(Message, installed.metadata)
        headings = [_heading(installed, file) for file in said.get_all("License-File") or []]
        licences[package] = licence_of(said, headings)
    return licences


def objections(licences: dict[Package, str | None]) -> list[str]:
    """One line a package whose licence is unknown, or copyleft."""
    lines = []
    for package, licence in licences.items():
        if licence is None:
            lines.append(f"{package.name}: it names no licence that is known")
        elif kind(licence) == "copyleft":
            lines.append(f"{package.name}: {licence}")
    return lines


def table(licences: dict[Package, str | None]) -> str:
    """docs/licences.md."""
    lines = [
        "# Licences",
        "",
        "What an installation brings, as `requirements.lock` pins it, and what each package says of its own licence.",
        "Made by `python -m harmviz licences`, which ends with 2 where one is unknown or would bind harmviz itself",
        "(GPL, LGPL, AGPL). MPL-2.0 asks that changes of the package's own files be given away; harmviz changes none.",
        "harmviz is Apache-2.0; the fetched model and data keep their own licences ([data](data.md)).",
        "",
        "torch's Linux build for NVIDIA GPUs also brings `nvidia-*` and `cuda-*` packages under NVIDIA's own terms.",
        "A build of torch for the CPU does without them.",
        "",
        "| package | version | licence | |",
        "|---|---|---|---|",
    ]
    for package, licence in licences.items():
        asks = "" if licence and kind(licence) == "permissive" else kind(licence or "")
        lines.append(f"| {package.name} | {' / '.join(package.versions)} | {licence or 'not said'} | {asks} |")
    return "\n".join(lines) + "\n"


def run(arguments: argparse.Namespace) -> None:
    """Writes the table (``--check``: only compares it), and says what a licence is objected to for.

    Raises:
        DataInvalid: a licence is unknown or copyleft; the table differs; a locked package is not installed.
    """
    packages = locked(read_lock(LOCK))
    licences = found(packages)
    if missing := [p.name for p in packages if p not in licences]:
        raise DataInvalid(f"not installed here: {', '.join(missing)}; `pip install -r requirements.txt` first")
    text = table(licences)
    changed = not TABLE.is_file() or TABLE.read_text(encoding="utf-8") != text
    if changed and not arguments.check:
        write_atomic(TABLE, text.encode())
    against = objections(licences)
    if arguments.json:
        print_json({"licences": {p.name: x for p, x in licences.items()}, "objections": against, "changed": changed})
    if against:
        raise DataInvalid(f"{'; '.join(against)}; do without them, or say in {Path(__file__).name} why they may stay")
    if changed and arguments.check:
        raise DataInvalid("docs/licences.md differs from what is installed; write it with `python -m harmviz licences`")
    if not arguments.json:
        say(f"{len(licences)} packages, none whose licence is unknown or binds harmviz: docs/licences.md")


def read_lock(path: Path) -> str:
    """The lock file's text.

    Raises:
        DataInvalid: it is not there: harmviz runs without its checkout.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise DataInvalid(f"{path} cannot be read ({e.strerror}); run this in a checkout of harmviz") from e
