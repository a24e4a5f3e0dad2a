"""The heart: who the machines are and what they do next. It knows no protocol."""
