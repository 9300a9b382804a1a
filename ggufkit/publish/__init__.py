"""Where ladders go: Ollama, llama.cpp, the Hub."""
