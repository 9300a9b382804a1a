"""llama.cpp: its library, its worker process and its programs."""
