"""The paper's claims as experiments: one module a claim, settings in, tidy rows with n, intervals and controls out."""

#: ``python -m harmviz experiment NAME``; each has a module of this name in ``harmviz.commands``, whose ``print_found`` shows a stored result.
NAMES = ("compression", "dissociation", "jailbreak", "scene", "emergent")
