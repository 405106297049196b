"""The core decides: pure functions and values. No I/O, no clock, no chance, no logging."""
