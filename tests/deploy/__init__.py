"""What stands in deploy/: rendered, and held against the program."""
