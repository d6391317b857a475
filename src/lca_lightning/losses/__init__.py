"""Training objectives: photometric, perceptual and regularising terms."""
