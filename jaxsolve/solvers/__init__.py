"""Methods: how a system is solved, given an operator, a preconditioner and a right-hand side."""
