"""Written results of a test: JSON, CSV, Markdown and HTML."""
