"""Algorithms: arrays in, new arrays and numbers out; nothing here reads, writes or logs."""
