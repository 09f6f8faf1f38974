"""From an image and a model to a product: requested, planned, predicted, resumed, verified."""
