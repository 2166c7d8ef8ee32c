"""Training and evaluation loops and their parts."""
