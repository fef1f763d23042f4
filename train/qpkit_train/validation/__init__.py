"""What an epoch's weights come to on the validation tiles, and how wrong the model was on each training tile."""
