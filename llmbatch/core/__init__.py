"""The types that all packages share: records, requests, faults, outcomes, settings. Standard library only, no I/O."""
