"""What every solve goes through, of linear systems and of others: the request, who listens, the answer."""
