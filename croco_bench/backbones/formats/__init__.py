"""Checkpoint formats: one module per family."""
