"""hmdb-prep synth: drawn stick figures as encoded videos."""
