"""Benchmarks: ratios measured in one run, against peers written as their users would. Not tests."""
