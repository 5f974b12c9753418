"""The version of the package, which its command line and its build read too."""

__version__ = "0.2.0"
