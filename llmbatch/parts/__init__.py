"""A run of parts: cuts the input once, writes a results file for each part, here or on many machines."""
