"""Felzenszwalb's segments of every scale, and what templates say of them."""
