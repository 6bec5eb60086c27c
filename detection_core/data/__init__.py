"""Data sets: readers, the canonical form, health checks, preprocessing, augmentation, built-in sets."""
