"""``report.html``: what a run has made, in one file that opens from the disk without a network."""
