"""Runs the transport in a process of its own, on another core. Only `child` imports `transport`."""
