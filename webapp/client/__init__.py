"""The Python client and the `paretobox` command: everything through the public API."""
