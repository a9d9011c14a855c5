"""Numbers of a map run as words and tables, a page each; no Streamlit."""
