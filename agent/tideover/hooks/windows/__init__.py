"""The parts of hooks on Windows, by the names they have on Linux. `parts` above hands out the ones of this system."""
