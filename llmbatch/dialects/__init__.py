"""The request and answer shapes of each API, and the presets of each provider. Pure."""
