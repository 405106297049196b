"""`python -m hookline`."""

from hookline.cli.main import run

if __name__ == "__main__":
    run()
