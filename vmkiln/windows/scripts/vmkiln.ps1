# Makes a Windows VM one that a build can log in to. It is run from the read-only disc of the run, twice, as SYSTEM:
# in set-up's pass "specialize" with -Phase specialize, and at the end of set-up with -Phase complete.
# It may be run again: what it has done stays as it is. Before it changes anything it records the old value below
# HKLM\SOFTWARE\vmkiln\Changes, as JSON, one value for each change; deprovision.ps1 takes each back.
# Each act is a line on COM2: VMKILN PHASE ACT ok|failed REASON. The last act opens the port: an open port means ready.
# Input: run.json beside it. Nothing of it is written to the disk of the VM.
param([Parameter(Mandatory = $true)] [ValidateSet('specialize', 'complete')] [string] $Phase)
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$record = 'HKLM:\SOFTWARE\vmkiln'
$changes = "$record\Changes"
$run = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText("$PSScriptRoot\run.json"))
$networkSeconds = 60
$addressSeconds = 30

function Write-ToHost {
    param([string] $Line)
    Write-Output $Line
    try {
        $port = New-Object -TypeName IO.Ports.SerialPort -ArgumentList 'COM2', 115200
        $port.WriteTimeout = 5000
        $port.Open()
        # the firmware has written to the port, too, and has ended no line
        try { $port.Write("`n$Line`n") } finally { $port.Close() }
    }
    catch { Write-Output "COM2 could not be written to: $($_.Exception.Message)" }
}

function Invoke-Act {
    param([string] $Name, [scriptblock] $Act)
    try {
        & $Act
        Write-ToHost "VMKILN $Phase $Name ok"
    }
    catch {
        $reason = ($_.Exception.Message -replace '\s+', ' ').Trim()
        Write-ToHost "VMKILN $Phase $Name failed $reason"
        exit 1
    }
}

function Save-Change {
    param([string] $Key, [hashtable] $Change)
    if (-not (Test-Path -LiteralPath $changes)) { [void] (New-Item -Path $changes -Force) }
    # the first record stays: it has what was there before us
    if ((Get-Item -LiteralPath $changes).GetValueNames() -contains $Key) { return }
    $text = ConvertTo-Json -InputObject $Change -Compress
    [void] (New-ItemProperty -LiteralPath $changes -Name $Key -Value $text -PropertyType String)
}

function Set-RegistryValue {
    param([string] $Path, [string] $Name, $Value, [string] $Type = 'DWord')
    $old = $null
    if (Test-Path -LiteralPath $Path) {
        $key = Get-Item -LiteralPath $Path
        if ($key.GetValueNames() -contains $Name) { $old = [string] $key.GetValue($Name) }
    }
    else { [void] (New-Item -Path $Path -Force) }
    $change = @{ kind = 'registry'; path = $Path; name = $Name; type = $Type; old = $old; new = [string] $Value }
    Save-Change "$Path!$Name" $change
    [void] (New-ItemProperty -LiteralPath $Path -Name $Name -Value $Value -PropertyType $Type -Force)
}

function Set-WsManValue {
    param([string] $Path, [string] $Value)
    $old = [string] (Get-Item -Path $Path).Value
    if ($old -eq $Value) { return }
    Save-Change $Path @{ kind = 'wsman'; path = $Path; old = $old; new = $Value }
    Set-Item -Path $Path -Value $Value -Force
}

function Get-Hook {
    # Azure's images run OEM\SetupComplete2.cmd when their own part is done
    $azures = "$Env:SystemRoot\OEM\SetupComplete.cmd"
    if ((Test-Path -LiteralPath $azures) -and (Select-String -LiteralPath $azures -Pattern 'SetupComplete2' -Quiet)) {
        return "$Env:SystemRoot\OEM\SetupComplete2.cmd"
    }
    return "$Env:SystemRoot\Setup\Scripts\SetupComplete.cmd"
}

function Set-Hook {
    $hook = Get-Hook
    $kept = $hook + '.before-vmkiln.cmd'
    [void] [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($hook))
    if ((Test-Path -LiteralPath $hook) -and -not (Test-Path -LiteralPath $kept) -and
        -not (Select-String -LiteralPath $hook -Pattern 'vmkiln\.ps1' -Quiet)) {
        Move-Item -LiteralPath $hook -Destination $kept
    }
    Save-Change $hook @{ kind = 'file'; path = $hook; kept = $kept }
    $lines = @(
        '@echo off'
        "if exist ""$kept"" call ""$kept"""
        'for %%d in (D E F G H I J K L M N O P Q R S T U V W X Y Z) do if exist %%d:\vmkiln.ps1' +
        ' powershell -NoProfile -ExecutionPolicy Bypass -File %%d:\vmkiln.ps1 -Phase complete'
    )
    [IO.File]::WriteAllText($hook, ($lines -join "`r`n") + "`r`n", [Text.Encoding]::ASCII)
}

function Set-Network {
    $wanted = $run.mac.Replace(':', '-')
    $until = (Get-Date).AddSeconds($networkSeconds)
    while (-not ($adapter = Get-NetAdapter | Where-Object -FilterScript { $_.MacAddress -eq $wanted })) {
        if ((Get-Date) -gt $until) { throw "no network adapter has the address $wanted" }
        Start-Sleep -Seconds 1
    }
    $index = $adapter.ifIndex
    # the run's network gives it by DHCP; only where that has not happened by then is it set here
    $given = (Get-Date).AddSeconds($addressSeconds)
    while (-not ($has = Get-NetIPAddress -InterfaceIndex $index -AddressFamily IPv4 -ErrorAction SilentlyContinue |
            Where-Object -FilterScript { $_.IPAddress -eq $run.address })) {
        if ((Get-Date) -gt $given) { break }
        Start-Sleep -Seconds 1
    }
    if (-not $has) {
        Save-Change 'network' @{ kind = 'network'; mac = $wanted }
        Set-NetIPInterface -InterfaceIndex $index -AddressFamily IPv4 -Dhcp Disabled
        $address = @{ InterfaceIndex = $index; IPAddress = $run.address; PrefixLength = $run.prefix }
        [void] (New-NetIPAddress @address -DefaultGateway $run.router)
        Set-DnsClientServerAddress -InterfaceIndex $index -ServerAddresses $run.nameServer
    }
    # WinRM's settings cannot be changed on a client whose network is Public, which a new one is for a moment
    while ($true) {
        $profiles = @(Get-NetConnectionProfile -InterfaceIndex $index -ErrorAction SilentlyContinue)
        if ($profiles.Count -gt 0 -and $profiles[0].NetworkCategory -ne 'Public') { break }
        if ((Get-Date) -gt $until) { throw 'the network cannot be made a private one' }
        if ($profiles.Count -gt 0) {
            Set-NetConnectionProfile -InterfaceIndex $index -NetworkCategory Private -ErrorAction SilentlyContinue
        }
        Start-Sleep -Seconds 1
    }
}

function Set-WayOut {
    # a proxy for programs that ask WinHTTP, .NET or their environment; it has no password, for this lies on the disk
    if ($run.proxy) {
        $settings = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings'
        $policies = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\CurrentVersion\Internet Settings'
        $environment = 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Environment'
        Set-RegistryValue $policies 'ProxySettingsPerUser' 0
        Set-RegistryValue $settings 'ProxyServer' $run.proxy.server 'String'
        Set-RegistryValue $settings 'ProxyOverride' $run.proxy.bypass 'String'
        Set-RegistryValue $settings 'ProxyEnable' 1
        Set-RegistryValue $environment 'HTTP_PROXY' $run.proxy.address 'String'
        Set-RegistryValue $environment 'HTTPS_PROXY' $run.proxy.address 'String'
        Set-RegistryValue $environment 'NO_PROXY' $run.proxy.past 'String'
        $old = $null
        if (Test-Path -LiteralPath "$settings\Connections") {
            $key = Get-Item -LiteralPath "$settings\Connections"
            if ($key.GetValueNames() -contains 'WinHttpSettings') {
                $old = [Convert]::ToBase64String($key.GetValue('WinHttpSettings'))
            }
        }
        Save-Change 'winhttp' @{ kind = 'winhttp'; path = "$settings\Connections"; old = $old; new = $run.proxy.server }
        $server = "proxy-server=$($run.proxy.server)"
        & "$Env:SystemRoot\System32\netsh.exe" winhttp set proxy $server "bypass-list=$($run.proxy.bypass)"
        if ($LASTEXITCODE -ne 0) { throw "netsh winhttp set proxy ended with status $LASTEXITCODE" }
    }
    foreach ($authority in @($run.authorities)) {
        $bytes = [Convert]::FromBase64String($authority)
        $kind = 'Security.Cryptography.X509Certificates'
        $certificate = New-Object -TypeName "$kind.X509Certificate2" -ArgumentList (, $bytes)
        $there = "Cert:\LocalMachine\Root\$($certificate.Thumbprint)"
        # one that the image has is the image's
        if (Test-Path -LiteralPath $there) { continue }
        Save-Change $there @{ kind = 'authority'; path = $there }
        $store = New-Object -TypeName "$kind.X509Store" -ArgumentList 'Root', 'LocalMachine'
        $store.Open('ReadWrite')
        try { $store.Add($certificate) } finally { $store.Close() }
    }
}

function Set-User {
    if (-not (Get-LocalUser -Name $run.user -ErrorAction SilentlyContinue)) {
        $secret = ConvertTo-SecureString -String $run.password -AsPlainText -Force
        [void] (New-LocalUser -Name $run.user -Password $secret -PasswordNeverExpires)
    }
    # by its identifier: the name of the group is another in another language
    try { Add-LocalGroupMember -SID 'S-1-5-32-544' -Member $run.user }
    catch [Microsoft.PowerShell.Commands.MemberExistsException] { return }
}

function Start-WinRm {
    Set-RegistryValue 'HKLM:\SYSTEM\CurrentControlSet\Services\WinRM' 'Start' 2
    Set-Service -Name WinRM -StartupType Automatic
    Start-Service -Name WinRM
    $until = (Get-Date).AddSeconds($networkSeconds)
    while ($true) {
        try {
            Set-WsManValue 'WSMan:\localhost\Service\Auth\Basic' 'true'
            break
        }
        catch {
            if ((Get-Date) -gt $until) { throw }
            Start-Sleep -Seconds 2
        }
    }
    if ((Get-Item -Path 'WSMan:\localhost\Service\Auth\Basic').Value -ne 'true') {
        throw 'a policy of the image forbids Basic logins over WinRM (WinRM\Service\AllowBasic)'
    }
    foreach ($quota in @(@('MaxMemoryPerShellMB', 1024), @('MaxShellsPerUser', 30))) {
        $path = "WSMan:\localhost\Shell\$($quota[0])"
        $now = [int64] (Get-Item -Path $path).Value
        if ($now -ne 0 -and $now -lt $quota[1]) { Set-WsManValue $path ([string] $quota[1]) }
    }
    $policies = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
    Set-RegistryValue $policies 'LocalAccountTokenFilterPolicy' 1
}

function Open-Listener {
    $key = ConvertTo-SecureString -String $run.certificatePassword -AsPlainText -Force
    $store = 'Cert:\LocalMachine\My'
    $there = "$store\$($run.thumbprint)"
    if (-not (Test-Path -LiteralPath $there)) {
        [void] (Import-PfxCertificate -FilePath "$PSScriptRoot\listener.pfx" -CertStoreLocation $store -Password $key)
    }
    if (-not (Test-Path -LiteralPath $there)) { throw 'the certificate of the run is not in the store' }
    $selector = @{ Address = '*'; Transport = 'HTTPS' }
    $values = @{ Hostname = $run.hostName; CertificateThumbprint = $run.thumbprint; Port = '5986' }
    $listeners = @(Get-ChildItem -Path 'WSMan:\localhost\Listener' |
            Where-Object -FilterScript { $_.Keys -contains 'Transport=HTTPS' })
    $old = $null
    if ($listeners.Count -gt 0) {
        # one that the image has is the image's again at the end
        $had = Get-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector
        $old = @{ port = $had.Port; hostName = $had.Hostname; thumbprint = $had.CertificateThumbprint }
    }
    Save-Change 'listener' @{ kind = 'listener'; thumbprint = $run.thumbprint; old = $old }
    if ($listeners.Count -gt 0) {
        [void] (Set-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector -ValueSet $values)
    }
    else { [void] (New-WSManInstance -ResourceURI 'winrm/config/Listener' -SelectorSet $selector -ValueSet $values) }
}

if ($Phase -eq 'specialize') {
    Invoke-Act 'record' { [void] (New-Item -Path $changes -Force) }
    Invoke-Act 'hook' { Set-Hook }
    Invoke-Act 'settings' {
        $control = 'HKLM:\SYSTEM\CurrentControlSet\Control'
        Set-RegistryValue "$control\TimeZoneInformation" 'RealTimeIsUniversal' 1
        Set-RegistryValue "$control\BitLocker" 'PreventDeviceEncryption' 1
        Set-RegistryValue "$control\Session Manager\Power" 'HiberbootEnabled' 0
        Set-RegistryValue 'HKLM:\SOFTWARE\Policies\Microsoft\WindowsStore' 'AutoDownload' 2
    }
    exit 0
}
Invoke-Act 'user' { Set-User }
Invoke-Act 'network' { Set-Network }
Invoke-Act 'proxy' { Set-WayOut }
Invoke-Act 'winrm' { Start-WinRm }
Invoke-Act 'deprovisioning' {
    $text = [IO.File]::ReadAllText("$PSScriptRoot\deprovision-default.ps1")
    [IO.File]::WriteAllText('C:\DeprovisioningScript.ps1', $text, [Text.Encoding]::ASCII)
}
Invoke-Act 'firewall' {
    if (-not (Get-NetFirewallRule -Name 'vmkiln-build' -ErrorAction SilentlyContinue)) {
        $rule = @{
            Name = 'vmkiln-build'; DisplayName = 'vmkiln-build'; Direction = 'Inbound'; Action = 'Allow'
            Protocol = 'TCP'; LocalPort = 5986; RemoteAddress = $run.containerGroup; Profile = 'Any'
        }
        [void] (New-NetFirewallRule @rule)
    }
}
Invoke-Act 'listener' { Open-Listener }
Write-ToHost 'VMKILN-READY ok'
exit 0
