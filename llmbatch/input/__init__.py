"""Input records: files, streams and Python values, read, decoded and named."""
