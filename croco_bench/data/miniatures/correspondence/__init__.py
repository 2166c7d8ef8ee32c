"""Miniatures of pairs of images with known correspondences."""
