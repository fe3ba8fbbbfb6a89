"""The version of the program, where the build finds it."""

__version__ = "0.1.0"
