"""Which weights matter: importance matrices."""
