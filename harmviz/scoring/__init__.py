"""Scores of weights: signed and absolute SNIP, Wanda, magnitude. One module a score, one way to run a batch."""
