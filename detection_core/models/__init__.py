"""One module a detector family, each an adapter around its network."""
