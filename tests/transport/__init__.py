"""Both lanes, on both loops, against a scripted server."""
