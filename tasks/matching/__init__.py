"""Shared parts of the two dense matching tasks, optical flow and stereo."""
