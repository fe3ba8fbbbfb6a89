"""Long runs against a provider of many moods: what they leave behind."""
