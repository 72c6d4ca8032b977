"""Accuracy of the current weights on held-out problems."""
