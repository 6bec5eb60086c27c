"""Tables of what exists: detectors, data sets, scenarios. Plain data, no torch."""
