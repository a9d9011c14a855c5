"""Harm map: where do the weights sit?"""

from harmviz.claims.mapping.page import harm_map

harm_map.show()
