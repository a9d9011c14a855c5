"""How numbers, terms and colours look wherever they are told: page, terminal, docs. No torch, no Streamlit."""
