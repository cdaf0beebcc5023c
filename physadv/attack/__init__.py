"""Patch in, patch out: the EOT optimiser."""
