"""Pre-training: cross-view completion (CroCo) and its rivals (MAE, MultiMAE), from pairs of images to a checkpoint."""
