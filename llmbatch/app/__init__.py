"""Puts a run together from its parts; the only package that sees all of them. Usable without the command line."""
