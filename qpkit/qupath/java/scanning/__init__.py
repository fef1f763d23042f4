"""The grammar of a stream as small functions, for plain Python and for numba; `scan` runs them."""
