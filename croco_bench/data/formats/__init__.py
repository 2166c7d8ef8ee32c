"""File formats: images, arrays, flow, disparity, folder layouts."""
