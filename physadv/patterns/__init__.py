"""Shipped patterns: data, each with its record and card."""
