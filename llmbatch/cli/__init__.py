"""The command line: the home of typer, and the only place that reads the environment."""
