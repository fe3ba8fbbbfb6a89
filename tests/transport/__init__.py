"""Both lanes, on both loops, against a server that does as it is told."""
