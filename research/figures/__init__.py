"""Tables and pictures of the READMEs, from the measurements in pic/figures."""
