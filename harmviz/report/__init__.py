"""A stored run as one HTML file that opens from disk, without network: ``harmviz.report.document`` writes it.

It holds numbers, pictures and words of harmviz's own: no prompt, no answer, whatever data the run is about.
"""
