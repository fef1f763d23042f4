"""The version of qpkit; the package, its outputs and the command line read it here."""

__version__ = "0.1.0"
