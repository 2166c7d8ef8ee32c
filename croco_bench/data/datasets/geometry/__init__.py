"""Readers of datasets of surface normals and of outdoor depth, by their official layouts."""
