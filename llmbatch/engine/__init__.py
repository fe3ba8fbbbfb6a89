"""Runs jobs from input to results: dispatch, workers and one writer. Knows other packages by the protocols of core."""
