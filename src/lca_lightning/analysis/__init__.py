"""Looking inside trained models: attention over photos, statistics of geometry tokens."""
