"""Decides how fast requests may leave and when they are sent again. Pure, the clock passed in: nothing here waits."""
