"""What an installing node needs: its script, its kickstart."""
