"""Wiring: settings to parts."""
