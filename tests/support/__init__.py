"""What several test packages share: a world without waiting, and the parts of a run as scripts."""
