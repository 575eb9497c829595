"""The navigable graph under every graph index: links, walks, building, mending."""
