"""Tasks and plans to run whole comparisons on, from a laptop up."""
