"""Intervals, chance and ranks."""
