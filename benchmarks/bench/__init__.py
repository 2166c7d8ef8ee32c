"""Times of the project's work beside what the device can do at best; see `python -m benchmarks.bench --help`."""
