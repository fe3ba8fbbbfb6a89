"""Run the command line with `python -m llmbatch`."""

from llmbatch.cli.main import entry

if __name__ == "__main__":
    entry()
