"""Relative pose of two views, and visual localization."""
