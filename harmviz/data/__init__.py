"""Prompt sets: read, validate, split, encode; the mild texts that ship."""
