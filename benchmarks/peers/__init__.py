"""One search, written with this package and as users write it without: `python -m benchmarks.peers`."""
