"""Queues: hints."""
