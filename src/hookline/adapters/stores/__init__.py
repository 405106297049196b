"""Stores: the truth."""
