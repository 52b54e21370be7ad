"""What this machine lends: cores, processes for jobs that may crash, compiled loops."""
