"""Pace and patience: decisions as arithmetic, with the clock passed in. Nothing here waits."""
