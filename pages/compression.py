"""Compression: does alignment concentrate it?"""

from harmviz.claims.compression import page

page.show()
