"""Adversarial training of a detector: fine-tuning against worn patterns, and what it costs beside natural training."""
