"""What a recipe leaves open and the tiles decide: how they are measured, and what is planned for them."""
