"""Attacks against masks (C6): what gets through, and what it costs.

The parts know nothing of each other: ``attacks`` (wrappers around a request), ``requests`` (which ones are asked),
``arms`` (the states of the model), ``judging`` (one answer → numbers), ``rows`` (numbers → rates) and ``settings``.
``measure`` puts them together. ``finding`` reads what was stored, beside ``setup`` (what the manifest says) and
``answers`` (what was kept); ``page`` shows all three.
"""
