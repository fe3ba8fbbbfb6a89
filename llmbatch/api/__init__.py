"""llmbatch from Python: the command's engine, records and results as values."""
