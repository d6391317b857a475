"""What a trained model looks at, and how alike it sees different data: attention maps, token statistics."""
