"""Where the pixels of tiles are: files, shards, the slides themselves, or an nnU-Net data set."""
