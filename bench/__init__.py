"""What `make bench` measures, each figure as a ratio against a peer or a floor of the same run."""
