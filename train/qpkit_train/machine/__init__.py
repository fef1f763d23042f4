"""What a training runs on: devices, processes, batch normalisation over all of them."""
