"""The whole flow as a simulation: one seed, one walk, the same in every run."""
