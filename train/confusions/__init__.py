"""Which classes are taken for which, and the clips of each confusion: pictures, and parts of pages."""
