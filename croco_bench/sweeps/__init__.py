"""Sweeps: many runs with one command. The plan, its state on disk, processes that work through it, the overview."""
