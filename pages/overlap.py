"""Overlap & transfer: one mechanism or many?"""

from harmviz.claims.mapping.page import overlap

overlap.show()
