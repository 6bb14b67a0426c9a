# A File step: copies one file from the read-only disc of the run's files to its place, and compares its SHA-256.
# Input: JSON in base64 in place of the word below: name (on the disc), destination, sha256 (hexadecimal), bytes.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$json = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('@DATA@'))
$step = ConvertFrom-Json -InputObject $json

function Find-OnDisc {
    param([string] $Name)
    foreach ($drive in [IO.DriveInfo]::GetDrives()) {
        if ($drive.DriveType -ne 'CDRom' -or -not $drive.IsReady) { continue }
        $path = $drive.RootDirectory.FullName + $Name
        if (Test-Path -LiteralPath $path -PathType Leaf) { return $path }
    }
    throw "no disc of this VM has the file $Name"
}

function Get-Sha256 {
    param([string] $Path)
    $file = [IO.File]::OpenRead($Path)
    try {
        $hash = [Security.Cryptography.SHA256]::Create()
        try { return [BitConverter]::ToString($hash.ComputeHash($file)).Replace('-', '').ToLowerInvariant() }
        finally { $hash.Dispose() }
    }
    finally { $file.Dispose() }
}

try {
    # Packer's own copying lets PowerShell expand $env:NAME in the destination
    $destination = [regex]::Replace($step.destination, '(?i)\$(?:env:(\w+)|\{env:(\w+)\})', {
            param($found)
            $variable = $found.Groups[1].Value + $found.Groups[2].Value
            [Environment]::GetEnvironmentVariable($variable)
        })
    if (-not [IO.Path]::IsPathRooted($destination)) { throw "the destination $destination is not a whole path" }
    $destination = [IO.Path]::GetFullPath($destination)
    if ([IO.Directory]::Exists($destination)) {
        throw "the destination $destination is a folder: name the file in it"
    }
    $source = Find-OnDisc $step.name
    [void] [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($destination))
    $part = $destination + '.vmkiln-part'
    $from = [IO.File]::OpenRead($source)
    try {
        # by streams: a copy of a file on a disc would be marked read-only
        $to = [IO.File]::Create($part)
        try { $from.CopyTo($to, 1048576) } finally { $to.Dispose() }
    }
    finally { $from.Dispose() }
    $found = Get-Sha256 $part
    if ($found -ne $step.sha256) {
        [IO.File]::Delete($part)
        throw "what was copied has SHA-256 $found, and not $($step.sha256)"
    }
    if ([IO.File]::Exists($destination)) {
        [IO.File]::SetAttributes($destination, 'Normal')
        [IO.File]::Delete($destination)
    }
    [IO.File]::Move($part, $destination)
    Write-Output "copied $($step.bytes) bytes to $destination"
    exit 0
}
catch {
    Write-Output "copying to $($step.destination): $($_.Exception.Message)"
    exit 1
}
