"""Publishing and running ladders: the Hub, Ollama, llama.cpp."""
