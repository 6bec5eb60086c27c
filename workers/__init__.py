"""Celery workers: where Django models and the library meet. Torch is never loaded here."""
