"""Rotations, cameras and skinning as pure tensor functions."""
