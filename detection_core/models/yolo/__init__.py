"""YOLO, written from the papers: a version is a trunk, a neck and a head put together in a page."""
