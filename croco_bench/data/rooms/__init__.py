"""Rooms: procedural indoor scenes with exact ground truth, deterministic from a seed."""
