"""Several processes on one prediction: who does which slide, and what is kept of one that dies."""
