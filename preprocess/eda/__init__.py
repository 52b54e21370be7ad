"""hmdb-prep eda: tables and a report on a data set."""
