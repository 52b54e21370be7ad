"""One command from HMDB51's archive to the number that the literature reports: ``make hmdb51 SOURCE=hmdb51_org.rar``.

It only calls the commands of the two programs, one after the other as a user would, and puts their results on a page.
"""
