"""Predictions over a data set and the COCO numbers that follow from them."""
