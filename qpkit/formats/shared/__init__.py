"""What the formats share: XML and JSON, rings and holes, class names, what a format cannot hold."""
