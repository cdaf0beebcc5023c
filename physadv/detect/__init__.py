"""People found: YOLO models on every backend, with and without gradients."""
