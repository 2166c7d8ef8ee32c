"""What the two dense matching tasks, optical flow and stereo, share."""
