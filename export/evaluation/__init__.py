"""Measuring a model on labelled pictures and videos: COCO's numbers, curves, the worst misses."""
