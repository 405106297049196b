"""The receiver kit: verify webhooks in an application of your own. Only the standard library is needed."""
