"""Sources: what a host is asked, one file each, one row each."""
