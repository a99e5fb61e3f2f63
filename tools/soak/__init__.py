"""`make soak`: a splitter with everything that can happen to it, for minutes or hours, and every request accounted for."""
