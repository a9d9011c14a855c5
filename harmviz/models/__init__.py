"""Language models: load one from anywhere, name and number its scored weights."""
