"""Augmentation: one transform a file, drawn on the CPU, applied on the device."""
