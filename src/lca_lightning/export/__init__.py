"""Avatars in the formats of other programs."""
