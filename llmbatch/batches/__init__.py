"""Has records answered by a provider's batch API, beside live requests: cut, created, collected and settled."""
