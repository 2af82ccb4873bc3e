"""What is there already: whether it is finished, and whether it is what the study names."""
