"""Real servers for the tests: each is started on a free port in a temporary folder, and ended with the run."""
