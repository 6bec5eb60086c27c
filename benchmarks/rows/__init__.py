"""The rows of `make bench`, one a file; benchmarks/catalogue.py lists them."""
