"""Compute Engine, as far as the pool needs it. Implemented in full in this module."""
