"""Data on disk: layout, video files, deterministic sampling, crops."""
