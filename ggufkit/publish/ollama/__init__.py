"""Ollama: Modelfiles, its store, its server.

``parts`` describes prompts by their fixed texts, ``families`` lists these for well-known models,
``template`` finds those that match a chat template. ``model`` is a file with Ollama's settings,
``modelfile`` writes it as text, ``store`` puts it into Ollama's store, ``client`` sends it to a
server. Layouts and grammars are those of Ollama's own source, as of October 2026.
"""
