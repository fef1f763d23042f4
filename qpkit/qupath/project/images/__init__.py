"""Where the images of a project are, and which reader opens them."""
