"""What every peer needs: rows, processes, the device, packages, and the shape of the report."""
