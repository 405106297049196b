"""Contract suites, a told clock, faults, and a receiver that misbehaves on cue."""
