"""Puts this folder on the path, so that tests of several folders share what lies in it."""
