"""Looking at data sets: what is wrong with one, and what is in it."""
