"""Compression (C5): does alignment concentrate the harm weights? The same measure along checkpoints of one model."""
