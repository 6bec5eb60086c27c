"""Files that other runtimes can execute, each with the manifest that travels inside it."""
