# vmkiln's default deprovisioning, in the words of Azure VM Image Builder's. It lies at C:\DeprovisioningScript.ps1
# before the first customizer; a customizer may change it (many replace the line with Sysprep.exe) or put its own there.
# Unlike Azure's it waits only for agents that are installed, 5 minutes each, and it ends when sysprep has given up.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$agentSeconds = 300
$sysprepSeconds = 2700
$wanted = 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE'

function Stop-WithSysprepLog {
    param([string] $Reason)
    Write-Output ">>> $Reason"
    $folder = "$Env:SystemRoot\System32\Sysprep\Panther"
    if (Test-Path "$folder\setuperr.log") {
        Write-Output '>>> setuperr.log:'
        Get-Content "$folder\setuperr.log" -Tail 200
    }
    if (Test-Path "$folder\setupact.log") {
        Write-Output '>>> the end of setupact.log:'
        Get-Content "$folder\setupact.log" -Tail 40
    }
    exit 1
}

foreach ($name in @('RdAgent', 'WindowsAzureTelemetryService', 'WindowsAzureGuestAgent')) {
    if (-not (Get-Service -Name $name -ErrorAction SilentlyContinue)) { continue }
    Write-Output ">>> Waiting for GA Service ($name) to start ..."
    $until = (Get-Date).AddSeconds($agentSeconds)
    while ((Get-Service -Name $name).Status -ne 'Running') {
        if ((Get-Date) -gt $until) {
            Write-Output ">>> $name has not started in $agentSeconds seconds; going on without it"
            break
        }
        Start-Sleep -Seconds 5
    }
}
if (Test-Path $Env:SystemRoot\system32\Sysprep\unattend.xml) {
    Write-Output '>>> Removing Sysprep\unattend.xml ...'
    Remove-Item $Env:SystemRoot\system32\Sysprep\unattend.xml -Force
}
if (Test-Path $Env:SystemRoot\Panther\unattend.xml) {
    Write-Output '>>> Removing Panther\unattend.xml ...'
    Remove-Item $Env:SystemRoot\Panther\unattend.xml -Force
}
Write-Output '>>> Sysprepping VM ...'
& $Env:SystemRoot\System32\Sysprep\Sysprep.exe /oobe /generalize /quiet /quit
$until = (Get-Date).AddSeconds($sysprepSeconds)
$looksWithout = 0
while ($true) {
    $imageState = (Get-ItemProperty HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State).ImageState
    Write-Output $imageState
    if ($imageState -eq $wanted) { break }
    if (Get-Process -Name sysprep -ErrorAction SilentlyContinue) { $looksWithout = 0 } else { $looksWithout++ }
    # one look may fall between the end of its process and the new state
    if ($looksWithout -gt 2) { Stop-WithSysprepLog "sysprep has ended, and the image's state is $imageState" }
    if ((Get-Date) -gt $until) { Stop-WithSysprepLog "sysprep has not ended in $sysprepSeconds seconds" }
    Start-Sleep -Seconds 5
}
Write-Output '>>> Sysprep complete ...'
