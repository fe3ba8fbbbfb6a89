"""Reads and writes results files, and makes them resumable: their lines, their lock, the intents beside them."""
