"""Mining of pre-training pairs from posed RGB-D video."""
