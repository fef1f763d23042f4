"""The run folder: run.json, weights, curves, events, and the result of fit()."""
