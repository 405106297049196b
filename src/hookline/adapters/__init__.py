"""One folder per port, one module or package per technology."""
