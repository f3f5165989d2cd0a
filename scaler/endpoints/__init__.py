"""Managing endpoints by hand: the commands, waiting with a deadline, and how it all looks on a terminal."""
