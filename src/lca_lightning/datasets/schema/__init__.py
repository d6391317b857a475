"""JSON schemas of the layout, shipped as package data."""
