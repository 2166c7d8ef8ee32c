"""Training and evaluation: the loops, and what they are made of."""
