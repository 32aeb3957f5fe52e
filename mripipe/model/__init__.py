"""Frozen dataclasses for studies, settings and results; valid once they exist, units in the names."""
