"""A run put together from its parts: the only place that sees all of them. Usable without the command line."""
