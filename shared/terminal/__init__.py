"""What both programs do with a terminal: what they print and how, and what Ctrl-C does to them."""
