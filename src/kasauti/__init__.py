"""Kasauti: from labelled examples to a language model that is proven, shipped and watched."""

__version__ = "0.1.0"
