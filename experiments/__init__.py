"""Declarative files of the experiments, one per table."""
