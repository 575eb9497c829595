"""Inlay inside the tools people already use.

Each module here translates names, shapes and errors of one framework onto Inlay, imports that framework only,
and says how to install it when it is missing.
"""
