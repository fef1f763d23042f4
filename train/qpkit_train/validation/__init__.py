"""The validation of an epoch's weights, and the errors on each training tile."""
