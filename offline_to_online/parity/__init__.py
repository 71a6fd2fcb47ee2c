"""Offline against online: the same candidates, compared column by column and in the score."""
