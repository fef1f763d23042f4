"""`python -m qpkit`, which torchrun needs: torchrun --nproc-per-node 4 -m qpkit train ..."""

from qpkit.cli import main

if __name__ == "__main__":
    main()
