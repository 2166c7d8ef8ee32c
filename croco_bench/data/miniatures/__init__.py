"""Miniatures: small datasets of rendered rooms in official layouts."""
