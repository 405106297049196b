"""Verifiers of inbound webhooks: bytes, headers, configuration, now → verified, refused, or a handshake's answer.

Pure, and of the standard library alone (`cryptography` and `defusedxml` are imported by the functions that need
them), so that the receiver kit can use them anywhere. `judge.judge` is the one way in; a provider that the table of
`hmac_scheme` cannot describe has a file of its own.
"""
