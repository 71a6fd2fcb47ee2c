"""Networks: layers, shapes and what sizes them. How they are fitted stands in `offline.training`."""
