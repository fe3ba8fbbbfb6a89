"""What makes a results file resumable: its lock, its lines, and the intents beside it."""
