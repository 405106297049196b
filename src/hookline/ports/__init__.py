"""Protocols only: the seams between the flow and the world."""
