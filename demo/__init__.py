"""A real Image Storage to look at, on a machine that has none."""
