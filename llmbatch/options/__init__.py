"""The options of a run: each defined once, for the command line, the settings file, the environment and Python."""
