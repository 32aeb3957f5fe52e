"""Results and figures to self-contained HTML; a report never computes a number."""
