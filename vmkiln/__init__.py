"""vmkiln builds virtual-machine images from Azure Image Builder templates, each build isolated."""

__version__ = "0.2.0"
