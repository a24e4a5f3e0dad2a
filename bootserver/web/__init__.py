"""What nodes fetch and report by HTTP."""
