"""The Python API: runs the same engine as the command, with records and results as Python values."""
