"""Tables of experiments: what they run, what they reuse, what they write."""
