"""The training loop, which knows nothing of jobs or data sets, and the hooks that give it a purpose."""
