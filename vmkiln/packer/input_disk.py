"""The read-only disk that a container instance gets its input on.

*Leaves behind:* the disk's file. *Undone by:* its deletion. *Safe to repeat:* yes, at another path.
"""

import shutil
from pathlib import Path

from vmkiln.host.disk.ext4_image import make_ext4
from vmkiln.packer import unix_lines
from vmkiln.packer.packer_template import PackerInput
from vmkiln.waiting.off_loop import off_loop


async def make_input_disk(image: Path, content: PackerInput) -> None:
    """Make the disk. Raises: `CommandFailed`, `OSError`."""
    folder = image.with_suffix("")
    await off_loop(_fill, folder, content)
    await make_ext4(image, folder)
    await off_loop(shutil.rmtree, folder)


def _fill(folder: Path, content: PackerInput) -> None:
    folder.mkdir(mode=0o700)
    for file in content.files:
        target = folder / file.name
        if file.source is not None:
            (unix_lines.copied if file.is_script else shutil.copyfile)(file.source, target)
        else:
            target.write_text(file.text or "")
