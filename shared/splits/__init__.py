"""Which clips train and which test, and what their names say of it."""
