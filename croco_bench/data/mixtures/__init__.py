"""Several datasets as one training set, with weights."""
