"""The run itself: input to dispatch to workers to one writer. Knows the outside only by the protocols of core."""
