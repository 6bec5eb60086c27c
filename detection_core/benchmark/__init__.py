"""Latency: scenarios, stages, clock, statistics, the environment record and validity flags."""
