"""The front door: a system posed, a method chosen, a solve run, differentiated and judged."""
