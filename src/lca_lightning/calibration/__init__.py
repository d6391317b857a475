"""Calibrated cameras with their lenses, the files that hold them, and pictures without lens distortion."""
