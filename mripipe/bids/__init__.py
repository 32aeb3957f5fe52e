"""The only place that knows file names."""
