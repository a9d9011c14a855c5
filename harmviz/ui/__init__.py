"""What the pages share. The only package that imports streamlit besides app.py and pages/."""
