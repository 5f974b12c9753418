"""Pictures of solves and matrices, by matplotlib, which is imported when a picture is asked for."""
