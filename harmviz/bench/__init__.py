"""Benches: each module's ``bench()`` returns ``{what: (median, unit)}``; ratios are taken between medians."""

#: The benches, each a module of this package with a function ``bench``.
BENCHES = ("scoring", "masks", "toggle", "decode", "ui")
