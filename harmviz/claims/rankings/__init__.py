"""Which ranking of weights buys the most for what benign text pays? Scores of this project beside others'."""
