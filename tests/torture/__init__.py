"""Runs that are killed, starved and lied to, and the proof that nothing is lost and nothing paid twice."""
