"""The command line: demo, solve, compare, info."""
