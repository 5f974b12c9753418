"""What a solve tells the outside: tapes, trajectories, log lines, progress. Nothing where nobody listens."""
