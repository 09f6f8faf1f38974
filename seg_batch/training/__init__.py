"""From labelled data to a bundle: the recipe, the first weights, the training, the card."""
