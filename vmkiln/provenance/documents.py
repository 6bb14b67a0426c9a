"""What is kept with an image beside its file, by name; the names are those of files and of addresses, too."""

PROVENANCE = "provenance"  # a signed statement (`envelope.py`)
SUFFIX = ".intoto.json"  # of the file beside an exported image
