"""What executes an exported file: one module a backend, one protocol."""
