"""How each channel and each ranking model is fitted on a past; nothing here reads or writes a file."""
