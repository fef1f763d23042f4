"""The run folder: run.json, weights, curves, events, and what fit() hands back."""
