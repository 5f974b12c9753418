"""SciPy's minimisers: called directly where values are concrete, led by the device program where they are traced."""
