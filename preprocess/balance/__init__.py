"""hmdb-prep balance: the plan for the training rows of one split."""
