"""vmkiln builds virtual-machine images from Azure Image Builder templates, each build isolated."""
