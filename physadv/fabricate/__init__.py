"""Millimetres out: sheets, garments, advice on size."""
