"""Datasets: where they lie, readers of their official layouts, and miniatures in the same layouts."""
