"""The wire in a process of its own, so that the network has a core to itself: nothing here imports it but `far`."""
