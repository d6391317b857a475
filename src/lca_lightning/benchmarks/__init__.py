"""Speed against rivals, measured by turns in one process."""
