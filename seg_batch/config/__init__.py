"""What people write, as checked values: cards, recipes, workflows, options, clusters."""
