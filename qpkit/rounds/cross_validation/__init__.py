"""qpkit cross-validate: every slide predicted by a model that has not seen it, and what all folds together say."""
