"""Runs the transport in a process of its own, so that the network has a core. Only `child` imports `transport`."""
