"""Emergent misalignment: narrow fine-tuning with and without prior pruning, and what it does far from its domain."""
