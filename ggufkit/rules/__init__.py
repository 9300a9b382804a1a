"""What llama.cpp requires of a model, as rules about metadata, names and shapes alone."""
