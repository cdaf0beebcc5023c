"""Calibration: what the camera and the printer do to shapes and colours, measured."""
