"""Dissociation (C8): writing, recognising, explaining and declining harm, before and after pruning."""
