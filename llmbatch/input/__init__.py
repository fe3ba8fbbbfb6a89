"""Input records and result lines: files and streams in and out."""
