"""Tidy results → plotly figures. No computation, no streamlit, no torch.

- ``style``: the theme (colours, type, sizes) and the frame that every figure is drawn in;
- one module a picture, each with functions that take tidy numbers and a ``Theme`` and return a ``go.Figure``.
"""
