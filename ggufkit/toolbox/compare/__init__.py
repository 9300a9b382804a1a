"""Errors of rungs against their source, tensor by tensor."""
