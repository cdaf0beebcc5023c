"""Detector in, detector out: every defence by name."""
