"""Printing: sheets, garments, and advice on size."""
