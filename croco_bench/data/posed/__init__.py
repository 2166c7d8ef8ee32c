"""Posed RGB-D video, and pairs of views with known relative pose."""
