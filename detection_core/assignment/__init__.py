"""Which ground truth a detector can be trained on: anchors and places matched to boxes as the trainings do it, without torch."""
