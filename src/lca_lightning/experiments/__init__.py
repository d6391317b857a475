"""Experiments: declarative tables, run as child processes, never with a result that is out of date."""
