"""Linear maps between flat vectors: what is solved, and what a preconditioner builds."""
