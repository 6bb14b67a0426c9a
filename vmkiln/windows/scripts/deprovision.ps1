# The hidden last customizer of a Windows build. Run over WinRM it runs C:\DeprovisioningScript.ps1, looks whether the
# image is generalized, and leaves the rest to a task of SYSTEM's, which is this file again with -Finish: that waits
# until the shell over WinRM has ended, takes back what the build brought in, tells it on COM2, and powers the VM off.
# The build is done when the line VMKILN-FINISH ok has come and the VM has powered itself off; one alone is not enough.
param([switch] $Finish)
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$deprovisioning = 'C:\DeprovisioningScript.ps1'
$wanted = 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE'
$record = 'HKLM:\SOFTWARE\vmkiln'
$folder = "$Env:SystemRoot\Temp\vmkiln"
$user = 'packer'
$decryptMinutes = 60

function Get-ImageState {
    $state = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State'
    return [string] $state.ImageState
}

function Wait-Decryption {
    $place = @{ Namespace = 'root\cimv2\Security\MicrosoftVolumeEncryption'; ClassName = 'Win32_EncryptableVolume' }
    $volumes = @(Get-CimInstance @place -ErrorAction SilentlyContinue)
    foreach ($volume in $volumes) {
        $status = Invoke-CimMethod -InputObject $volume -MethodName GetConversionStatus
        if ($status.ReturnValue -ne 0 -or $status.ConversionStatus -eq 0) { continue }
        Write-Output "[deprovision] $($volume.DriveLetter) is encrypted by BitLocker, which sysprep refuses; decrypting"
        [void] (Invoke-CimMethod -InputObject $volume -MethodName Decrypt)
        $until = (Get-Date).AddMinutes($decryptMinutes)
        while ($status.ConversionStatus -ne 0) {
            if ((Get-Date) -gt $until) { throw "decrypting $($volume.DriveLetter) takes more than $decryptMinutes min" }
            Start-Sleep -Seconds 10
            $status = Invoke-CimMethod -InputObject $volume -MethodName GetConversionStatus
            Write-Output "[deprovision] $($volume.DriveLetter): $($status.EncryptionPercentage) % still encrypted"
        }
    }
}

function Assert-NoRestartPending {
    $servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing'
    $pending = @()
    if (Test-Path -Path "$servicing\RebootPending") { $pending += 'RebootPending' }
    if (@(Get-ChildItem -Path "$servicing\PackagesPending" -ErrorAction SilentlyContinue).Count -gt 0) {
        $pending += 'PackagesPending'
    }
    if ($pending.Count -gt 0) {
        throw "Windows waits for a restart ($($pending -join ', ')): add a WindowsRestart step as the last one"
    }
    $manager = Get-Item -Path 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager'
    if ($manager.GetValueNames() -contains 'PendingFileRenameOperations') {
        Write-Output '[deprovision] files wait for a restart to be renamed; a WindowsRestart step does it'
    }
}

function Write-Warnings {
    if (Get-Command -Name Get-AppxPackage -ErrorAction SilentlyContinue) {
        $forAll = @(Get-AppxProvisionedPackage -Online -ErrorAction SilentlyContinue |
                ForEach-Object -Process { $_.DisplayName })
        foreach ($package in @(Get-AppxPackage -AllUsers -ErrorAction SilentlyContinue)) {
            if ($package.NonRemovable -or $package.IsFramework -or $forAll -contains $package.Name) { continue }
            $advice = 'if sysprep fails with 0x80073cf2, remove it or provision it for all'
            Write-Output "[deprovision] $($package.PackageFullName) is there for single users only; $advice"
        }
    }
    $licence = Get-CimInstance -ClassName SoftwareLicensingService -ErrorAction SilentlyContinue
    if ($licence -and $licence.RemainingWindowsReArmCount -eq 0) {
        Write-Output '[deprovision] no rearm is left; if sysprep fails with 0xc004d307, begin from a newer image'
    }
}

function Invoke-Deprovisioning {
    if (-not (Test-Path -LiteralPath $deprovisioning)) {
        # in Azure's words
        throw ('Deprovisioning script [c:\DeprovisioningScript.ps1] could not be found. Image build may fail or the ' +
            'VM created from the Image may not boot. Please make sure the deprovisioning script is not accidentally ' +
            'deleted by a Customizer in the Template.')
    }
    Wait-Decryption
    Assert-NoRestartPending
    Write-Warnings
    Write-Output "[deprovision] ${deprovisioning}:"
    Get-Content -LiteralPath $deprovisioning
    $powershell = "$Env:SystemRoot\System32\WindowsPowerShell\v1.0\powershell.exe"
    & $powershell -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $deprovisioning
    $status = $LASTEXITCODE
    $state = Get-ImageState
    if ($status -ne 0) { throw "$deprovisioning ended with status $status; the image's state is $state" }
    if ($state -ne $wanted) { throw "the image's state is $state and not $wanted, so it is not generalized" }
    [void] [IO.Directory]::CreateDirectory($folder)
    Copy-Item -LiteralPath $PSCommandPath -Destination "$folder\finish.ps1" -Force
    $run = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File ""$folder\finish.ps1"" -Finish"
    $action = New-ScheduledTaskAction -Execute $powershell -Argument $run
    $principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
    $settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit (New-TimeSpan -Minutes 30)
    $task = @{ TaskName = 'vmkiln-finish'; Action = $action; Principal = $principal; Settings = $settings }
    [void] (Register-ScheduledTask @task -Force)
    Start-ScheduledTask -TaskName 'vmkiln-finish'
    Write-Output '[deprovision] the image is generalized; a task takes away what the build brought in, and powers off'
}

function Write-ToHost {
    param([string] $Line)
    $port = New-Object -TypeName IO.Ports.SerialPort -ArgumentList 'COM2', 115200
    $port.WriteTimeout = 5000
    $port.Open()
    # the firmware has written to the port, too, and has ended no line
    try { $port.Write("`n$Line`n") } finally { $port.Close() }
}

function Restore-Change {
    param([psobject] $Change)
    switch ($Change.kind) {
        'registry' {
            if (-not (Test-Path -LiteralPath $Change.path)) { return }
            # what a customizer has changed since is the customizer's
            $key = Get-Item -LiteralPath $Change.path
            if ([string] $key.GetValue($Change.name) -ne $Change.new) { return }
            if ($null -eq $Change.old) { Remove-ItemProperty -LiteralPath $Change.path -Name $Change.name }
            elseif ($Change.type -eq 'String') {
                Set-ItemProperty -LiteralPath $Change.path -Name $Change.name -Value $Change.old
            }
            else { Set-ItemProperty -LiteralPath $Change.path -Name $Change.name -Value ([int] $Change.old) }
        }
        'wsman' {
            if ([string] (Get-Item -Path $Change.path).Value -ne $Change.new) { return }
            Set-Item -Path $Change.path -Value $Change.old -Force
        }
        'file' {
            Remove-Item -LiteralPath $Change.path -Force -ErrorAction SilentlyContinue
            if (Test-Path -LiteralPath $Change.kept) { Move-Item -LiteralPath $Change.kept -Destination $Change.path }
        }
        'network' {
            $adapter = Get-NetAdapter | Where-Object -FilterScript { $_.MacAddress -eq $Change.mac }
            if (-not $adapter) { return }
            $index = $adapter.ifIndex
            Set-DnsClientServerAddress -InterfaceIndex $index -ResetServerAddresses
            $quietly = @{ InterfaceIndex = $index; Confirm = $false; ErrorAction = 'SilentlyContinue' }
            Remove-NetRoute @quietly -DestinationPrefix '0.0.0.0/0'
            Remove-NetIPAddress @quietly -AddressFamily IPv4
            Set-NetIPInterface -InterfaceIndex $index -AddressFamily IPv4 -Dhcp Enabled
        }
        'winhttp' {
            $shown = [string]::Join(' ', @(& "$Env:SystemRoot\System32\netsh.exe" winhttp show proxy))
            if (-not $shown.Contains($Change.new)) { return }
            $name = 'WinHttpSettings'
            if ($null -eq $Change.old) { Remove-ItemProperty -LiteralPath $Change.path -Name $name }
            else {
                $old = [Convert]::FromBase64String($Change.old)
                Set-ItemProperty -LiteralPath $Change.path -Name $name -Value $old
            }
        }
        'authority' {
            if (Test-Path -LiteralPath $Change.path) { Remove-Item -LiteralPath $Change.path }
        }
        'listener' {
            # sysprep may have taken either away
            $selector = @{ Address = '*'; Transport = 'HTTPS' }
            $there = @(Get-ChildItem -Path 'WSMan:\localhost\Listener' |
                    Where-Object -FilterScript { $_.Keys -contains 'Transport=HTTPS' })
            if ($there.Count -gt 0 -and $Change.old) {
                $values = @{ Hostname = $Change.old.hostName; Port = $Change.old.port }
                $values['CertificateThumbprint'] = $Change.old.thumbprint
                [void] (Set-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector -ValueSet $values)
            }
            elseif ($there.Count -gt 0) {
                Remove-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector
            }
            $certificate = "Cert:\LocalMachine\My\$($Change.thumbprint)"
            if (Test-Path -LiteralPath $certificate) { Remove-Item -LiteralPath $certificate -DeleteKey }
        }
        default { throw "nobody knows how to take back a change of kind $($Change.kind)" }
    }
}

function Invoke-Removal {
    param([string] $Name, [scriptblock] $Removal)
    try { & $Removal }
    catch { $script:missing += "${Name}: $(($_.Exception.Message -replace '\s+', ' ').Trim())" }
}

function Remove-User {
    $account = Get-LocalUser -Name $user -ErrorAction SilentlyContinue
    if (-not $account) { return }
    $sid = $account.SID.Value
    Get-CimInstance -ClassName Win32_UserProfile -Filter "SID='$sid'" | Remove-CimInstance
    Remove-LocalUser -Name $user
    $list = "HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\$sid"
    if (Test-Path -LiteralPath $list) { Remove-Item -LiteralPath $list -Recurse -Force }
    if (Test-Path -LiteralPath "$Env:SystemDrive\Users\$user") {
        Remove-Item -LiteralPath "$Env:SystemDrive\Users\$user" -Recurse -Force
    }
}

function Remove-Traces {
    foreach ($task in @(Get-ScheduledTask | Where-Object -FilterScript { $_.TaskName -like 'packer-*' })) {
        Unregister-ScheduledTask -TaskName $task.TaskName -TaskPath $task.TaskPath -Confirm:$false
    }
    $windows = $Env:SystemRoot
    $patterns = @(
        "$windows\Temp\script-*", "$windows\Temp\packer-*", "$windows\Temp\winrmcp*"
        "$windows\Panther\unattend.xml", "$windows\Panther\Unattend\*", "$windows\System32\Sysprep\unattend.xml"
        "$windows\System32\config\systemprofile\AppData\Roaming\Microsoft\Windows\PowerShell\PSReadLine\*_history.txt"
        "$Env:SystemDrive\Users\*\AppData\Roaming\Microsoft\Windows\PowerShell\PSReadLine\*_history.txt"
        "$Env:SystemDrive\Users\*\Documents\PowerShell_transcript.*"
    )
    foreach ($pattern in $patterns) {
        foreach ($file in @(Get-ChildItem -Path $pattern -Force -ErrorAction SilentlyContinue)) {
            Remove-Item -LiteralPath $file.FullName -Recurse -Force
        }
    }
    $logon = Get-Item -Path 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
    foreach ($name in @('DefaultPassword', 'AutoAdminLogon', 'AutoLogonCount', 'AutoLogonSID')) {
        if ($logon.GetValueNames() -contains $name) { Remove-ItemProperty -LiteralPath $logon.PSPath -Name $name }
    }
    if ($logon.GetValue('DefaultUserName') -eq $user) {
        Remove-ItemProperty -LiteralPath $logon.PSPath -Name DefaultUserName
    }
    # who logged in last, as the first logon of a build leaves it
    $shown = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Authentication\LogonUI'
    if (Test-Path -LiteralPath $shown) {
        $last = Get-Item -LiteralPath $shown
        if ([string] $last.GetValue('LastLoggedOnSAMUser') -like "*\$user") {
            foreach ($name in @($last.GetValueNames() | Where-Object -FilterScript { $_ -like '*LoggedOn*' })) {
                Remove-ItemProperty -LiteralPath $shown -Name $name
            }
        }
    }
    $secret = 'HKLM:\SECURITY\Policy\Secrets\DefaultPassword'
    if (Test-Path -LiteralPath $secret) { Remove-Item -LiteralPath $secret -Recurse -Force }
}

function Clear-Logs {
    $logs = @(
        'Application', 'Security', 'System', 'Windows PowerShell', 'Microsoft-Windows-PowerShell/Operational'
        'Microsoft-Windows-WinRM/Operational', 'Microsoft-Windows-TaskScheduler/Operational'
    )
    foreach ($log in $logs) {
        # an image may lack one of them
        try { [Diagnostics.Eventing.Reader.EventLogSession]::GlobalSession.ClearLog($log) }
        catch [Diagnostics.Eventing.Reader.EventLogException] { continue }
    }
}

function Invoke-Finish {
    $until = (Get-Date).AddSeconds(30)
    while ((Get-Process -Name winrshost, wsmprovhost -ErrorAction SilentlyContinue) -and (Get-Date) -lt $until) {
        Start-Sleep -Seconds 1
    }
    $changes = @()
    if (Test-Path -LiteralPath "$record\Changes") {
        $key = Get-Item -LiteralPath "$record\Changes"
        foreach ($name in $key.GetValueNames()) { $changes += ConvertFrom-Json -InputObject $key.GetValue($name) }
    }
    # WinRM's settings can be changed only while it runs, and while its network is a private one
    foreach ($kind in @('wsman', 'listener', 'network', 'winhttp', 'authority', 'file', 'registry')) {
        foreach ($change in @($changes | Where-Object -FilterScript { $_.kind -eq $kind })) {
            Invoke-Removal $kind { Restore-Change $change }
        }
    }
    Invoke-Removal 'firewall rule' { Remove-NetFirewallRule -Name 'vmkiln-build' -ErrorAction SilentlyContinue }
    Invoke-Removal 'user' { Remove-User }
    Invoke-Removal 'traces' { Remove-Traces }
    Invoke-Removal 'deprovisioning script' {
        if (Test-Path -LiteralPath $deprovisioning) { Remove-Item -LiteralPath $deprovisioning -Force }
    }
    Invoke-Removal 'logs' { Clear-Logs }
    Invoke-Removal 'task' { Unregister-ScheduledTask -TaskName 'vmkiln-finish' -Confirm:$false }
    Invoke-Removal 'folder' {
        if (Test-Path -LiteralPath $folder) { Remove-Item -LiteralPath $folder -Recurse -Force }
    }
    Invoke-Removal 'record' {
        if (Test-Path -LiteralPath $record) { Remove-Item -LiteralPath $record -Recurse -Force }
    }
    Invoke-Removal 'free space' { Optimize-Volume -DriveLetter $Env:SystemDrive.Substring(0, 1) -ReTrim }
    if ((Get-ImageState) -ne $wanted) { $script:missing += "state: $(Get-ImageState)" }
}

if (-not $Finish) {
    try {
        Invoke-Deprovisioning
        exit 0
    }
    catch {
        Write-Output "[deprovision] $($_.Exception.Message)"
        exit 1
    }
}
$missing = @()
try { Invoke-Finish }
catch { $missing += ($_.Exception.Message -replace '\s+', ' ').Trim() }
try {
    if ($missing.Count -eq 0) { Write-ToHost 'VMKILN-FINISH ok' }
    else { Write-ToHost "VMKILN-FINISH missing $($missing -join '; ')" }
}
finally { & "$Env:SystemRoot\System32\shutdown.exe" /s /f /t 0 }
