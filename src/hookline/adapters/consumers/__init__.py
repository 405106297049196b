"""Consumers of brokers: see `hookline.ports.consumer`."""
