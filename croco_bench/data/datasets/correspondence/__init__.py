"""Readers of image pairs with known correspondences."""
