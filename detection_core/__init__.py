"""Object detectors: train, export, evaluate and time them, with one protocol. A pure library: see README.md beside this file."""
