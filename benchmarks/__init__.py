"""Benchmarks, each a command: python -m benchmarks.NAME. They report ratios of times measured in the same run."""
