"""The machine room of `scan`: the grammar of a stream as small functions, for plain Python and for numba."""
