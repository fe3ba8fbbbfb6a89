"""A mock LLM provider: real HTTP on loopback, deterministic answers, scripted faults."""
