"""The crew of threads everything computes with, and the lock that lets searches run beside each other."""
