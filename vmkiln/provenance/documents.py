"""What is kept with an image beside its file, by name; the names are those of files and of addresses, too."""

PROVENANCE = "provenance"  # a signed statement (`envelope.py`)
SBOM = "sbom"  # CycloneDX (`vmkiln/image_contents/bill_of_materials.py`)
CONTENTS = "contents"  # what is in it (`vmkiln/image_contents/contents.py`)
SOURCE_CONTENTS = "source-contents"  # what was in its source, in the same form
SUFFIX = ".intoto.json"  # of the file beside an exported image
