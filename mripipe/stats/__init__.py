"""Tidy tables, associations and models of a group; no nipype, no pictures."""
