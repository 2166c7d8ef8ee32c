"""Commands made of several runs or datasets."""
