"""Hookline: webhooks for event-driven systems, in and out, in one program."""
