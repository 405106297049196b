"""Senders: the way out, one per endpoint kind."""
