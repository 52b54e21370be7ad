"""Where the work of extract, verify and merge is done: in this process, in tasks, or on Ray; on which devices."""
