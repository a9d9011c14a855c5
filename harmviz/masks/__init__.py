"""Prune masks: selection from stored candidates, the PruneMask and its algebra, controls, application."""
