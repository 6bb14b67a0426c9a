"""What whoever builds a Windows image has to know of it: what nobody has tried yet. Source: docs/windows.md."""

UNPROVEN = "builds of Windows have not run on real Windows yet; docs/windows.md has what is proven, and how"
