"""Ollama: Modelfiles, its store, its server.

``parts`` says what a prompt is made of, ``families`` lists it for well-known models, ``template``
finds the one that a chat template amounts to. ``model`` is a file as Ollama sees it, ``modelfile``
writes that as text, ``store`` puts it where Ollama keeps models, ``client`` sends it to a server.
Layouts and grammars are those of Ollama's own source, up to October 2026.
"""
