"""Run the command line with `python -m llmbatch`."""

from llmbatch.cli.entry import entry

if __name__ == "__main__":
    entry()
