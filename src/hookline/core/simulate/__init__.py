"""Requests as the providers would send them, correctly signed, or wrong in one chosen way.

Pure: time and chance are arguments. What is signed here is built without the code that verifies it
(`core.verifiers`), so that a mistake in one of them shows. `simulation.simulate` is the way in, `catalogue` says what
there is, and the modules of `samples` have the payloads.
"""
