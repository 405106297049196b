"""Observers: metrics and logs."""
