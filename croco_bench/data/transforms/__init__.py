"""Geometry and augmentation of samples."""
