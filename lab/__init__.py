"""Several hosts on real shared storage: QEMU guests, a manager, an agent in each, as a scenario describes."""
