"""Training: the recipe, the optimizer, the loop, and saving what came of it."""
