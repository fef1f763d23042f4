"""A run's best model as packages that other programs read: a zip of bioimage.io, a folder of Hugging Face."""
