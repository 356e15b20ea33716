// Cairn: what a program that embeds the filesystem imports. It re-exports the rooms below.

@_exported import CairnBase
@_exported import CairnDisk
@_exported import CairnFUSE
@_exported import CairnProc
@_exported import CairnRAM
@_exported import CairnTree
@_exported import CairnVFS
