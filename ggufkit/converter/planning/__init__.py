"""Planning a ladder: recipes, tensor types, files, and the resources they need."""
