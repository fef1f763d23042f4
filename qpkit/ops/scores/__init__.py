"""Predictions against the ground truth: pixels, lesions, probabilities, intervals, baselines."""
