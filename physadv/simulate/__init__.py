"""The physical world between a printed pattern and the detector, differentiable."""
