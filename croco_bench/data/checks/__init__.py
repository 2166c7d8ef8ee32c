"""Checks of dataset files, for `croco-bench data check`."""
