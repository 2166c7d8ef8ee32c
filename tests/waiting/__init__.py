"""Steps as a GPU takes them: nothing in them waits for the device."""
