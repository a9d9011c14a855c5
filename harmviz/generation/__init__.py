"""Generation: one or many variants of a model decoded at once, streamed token by token, stopped at any step."""
