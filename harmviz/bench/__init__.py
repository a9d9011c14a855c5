"""Benches: each module's ``bench()`` returns ``{what: (median, unit)}``; ratios are taken between medians."""
