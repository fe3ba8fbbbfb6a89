"""The words of the program: records, requests, faults, outcomes, settings. Standard library only, no I/O."""
