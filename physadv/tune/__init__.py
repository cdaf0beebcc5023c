"""The lab for the detector: poison, fine-tune, score, inspect, cleanse and harden it."""
