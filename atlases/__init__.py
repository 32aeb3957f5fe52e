"""Template and atlases: label maps with their tables, provenance, licence and checksums."""
