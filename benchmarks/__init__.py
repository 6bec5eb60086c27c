"""Our figures beside their marks and beside those of others: `python -m benchmarks run` (`make bench`)."""
