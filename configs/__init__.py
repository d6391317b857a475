"""Recipes and the parts they compose, as package data."""
