"""Recipes at one-GPU size."""
