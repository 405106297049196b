"""Where the console script begins. What must start at once is done without the command line's machinery: importing
that takes longer than to judge a request."""

from __future__ import annotations

import sys


def run() -> None:
    """The console script."""
    arguments = sys.argv[1:]
    if "verify" in arguments[:2] and any(word.partition("=")[0] == "--preset" for word in arguments):
        import gc

        gc.disable()  # a tenth of the time; nothing that is made here lives long enough to be collected
        from hookline.cli.verify_stored import from_line

        code = from_line(arguments)
        if code is not None:
            sys.exit(code)
        gc.enable()
    from hookline.cli.main import run as run_any

    run_any()
