"""Miniatures of optical flow and stereo."""
