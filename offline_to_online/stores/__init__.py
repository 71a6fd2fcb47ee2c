"""The four stores that hold releases side by side: load, check, list, activate, delete."""
