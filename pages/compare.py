"""Compare runs: what changed from one run to the next?"""

from harmviz.claims.mapping.page import compare

compare.show()
