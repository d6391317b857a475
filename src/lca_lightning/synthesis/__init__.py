"""Synthetic captures: clothed people from the rig, rendered by Mitsuba 3 with exact cameras and masks."""
