"""Semi-supervised training in one run: a teacher of averaged weights labels what nobody annotated, while training."""
