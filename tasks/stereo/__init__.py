"""Disparity of rectified pairs."""
