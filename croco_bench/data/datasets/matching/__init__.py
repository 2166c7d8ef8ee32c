"""Readers of image pairs with optical flow or disparity."""
