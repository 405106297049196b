"""`python -m hookline`."""

from hookline.cli.start import run

if __name__ == "__main__":
    run()
