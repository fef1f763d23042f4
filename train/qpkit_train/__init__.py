"""From a folder of tiles to a trained model to rasters of predictions. torch is imported by the modules, not here."""

import os as _os

# GNU's OpenMP, as torch brings it for Linux, lets threads that wait spin 300,000 times, on a core that other work may
# need. Read when torch is loaded; docs/benchmarks.md, "Beside other work".
if "OMP_WAIT_POLICY" not in _os.environ:
    _os.environ.setdefault("GOMP_SPINCOUNT", "1000")
