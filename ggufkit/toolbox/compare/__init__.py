"""How far rungs are from their source, tensor by tensor."""
