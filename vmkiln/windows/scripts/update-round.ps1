# One round of a WindowsUpdate step: searches, filters, downloads and installs, as SYSTEM, for Windows' update agent
# refuses downloads to a login over the network.
# Ends with 0 when nothing is left to be done, with 3010 when the VM is to be restarted before the next round, with 1
# when updates cannot be had or installed.
# It tells by Write-Host, for what a function writes to its output is its result.
# Input: JSON in base64 in place of the word below:
#   criteria  what is searched for, such as "BrowseOnly=0 and IsInstalled=0"
#   filters   "include:EXPRESSION" or "exclude:EXPRESSION", of which the first that holds decides; when none holds, an
#             update is left out; without any, all are taken
#   limit     how many are installed in one round
#   state     a path to which .restart, .done and .failed are added: .restart is there when a restart is wanted, .done
#             when the step has come to its end, .failed has how often an update has failed
#   isLast    whether no round follows: what is left is listed, and is an error
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$json = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('@DATA@'))
$step = ConvertFrom-Json -InputObject $json
$restart, $done, $failures = "$($step.state).restart", "$($step.state).done", "$($step.state).failed"
$networkTries = 5
$busyMinutes = 10
$workerMinutes = 60
$quietSeconds = 15
$titleLetters = 200
$network = @('0x8024402C', '0x80072EE2', '0x80072EFD', '0x8024401C', '0x80244022')
$busy = @('0x80240016', '0x80240009')
$broken = @('0x8024001E', '0x8024500C')

function Get-HResult {
    param([Exception] $Exception)
    while ($Exception.InnerException) { $Exception = $Exception.InnerException }
    return '0x{0:X8}' -f $Exception.HResult
}

function Write-Update {
    param([string] $Place, [string] $Stage, [psobject] $Update, [string] $Result)
    $kilobytes = [int64] ($Update.MaxDownloadSize / 1024)
    $articles = @($Update.KBArticleIDs | ForEach-Object -Process { "KB$_" }) -join ','
    $title = ([string] $Update.Title -replace '\s+', ' ')
    if ($title.Length -gt $titleLetters) { $title = $title.Substring(0, $titleLetters) }
    Write-Host "update $Place $Stage $articles $kilobytes KB $Result $title"
}

function Test-Filter {
    # a filter is the template's own expression over $_, written for PowerShell without strict mode
    param([psobject] $Update, [string] $Filter)
    Set-StrictMode -Off
    $expression = $Filter.Substring($Filter.IndexOf(':') + 1)
    try { $block = [scriptblock]::Create($expression) }
    catch { throw "the filter $Filter is not PowerShell: $($_.Exception.Message)" }
    return @($Update | Where-Object -FilterScript $block).Count -gt 0
}

function Test-Wanted {
    param([psobject] $Update)
    $filters = @($step.filters)
    if ($filters.Count -eq 0) { return $true }
    foreach ($filter in $filters) {
        if (Test-Filter $Update $filter) { return $filter -like 'include:*' }
    }
    return $false
}

function Test-RestartPending {
    $system = New-Object -ComObject Microsoft.Update.SystemInfo
    if ($system.RebootRequired) { return $true }
    $servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing'
    if (Test-Path -Path "$servicing\RebootPending") { return $true }
    if (@(Get-ChildItem -Path "$servicing\PackagesPending" -ErrorAction SilentlyContinue).Count -gt 0) { return $true }
    return $false
}

function Wait-Workers {
    # a restart while they work takes back what they have done; they can hang for a day, so there is an end
    $until = (Get-Date).AddMinutes($workerMinutes)
    $quietSince = Get-Date
    while ((Get-Date) -lt $until) {
        if (Get-Process -Name TiWorker, TrustedInstaller -ErrorAction SilentlyContinue) { $quietSince = Get-Date }
        if (((Get-Date) - $quietSince).TotalSeconds -ge $quietSeconds) { return }
        Start-Sleep -Seconds 1
    }
    Write-Host "the installer of Windows has not ended in $workerMinutes minutes; restarting all the same"
}

function Exit-ForRestart {
    param([string] $Reason)
    Write-Host "a restart is wanted: $Reason"
    Wait-Workers
    [IO.File]::WriteAllText($restart, $Reason)
    exit 3010
}

function Exit-Done {
    param([string] $Reason)
    Write-Host $Reason
    [IO.File]::WriteAllText($done, $Reason)
    exit 0
}

function Wait-Installer {
    $installer = New-Object -ComObject Microsoft.Update.Installer
    $until = (Get-Date).AddMinutes($busyMinutes)
    while ($installer.IsBusy -and (Get-Date) -lt $until) { Start-Sleep -Seconds 5 }
}

function Invoke-Patiently {
    # what fails for the network's sake is tried again; what fails for another's, once the reason is gone
    param([string] $What, [scriptblock] $Call)
    $pause = 15
    $hasRestartedService = $false
    for ($try = 1; ; $try++) {
        try { return & $Call }
        catch {
            $result = Get-HResult $_.Exception
            $text = "$What failed with $result"
            if ($network -contains $result -and $try -lt $networkTries) {
                Write-Host "$text, the network; again in $pause s"
                Start-Sleep -Seconds $pause
                $pause *= 2
            }
            elseif ($broken -contains $result -and -not $hasRestartedService) {
                Write-Host "$text; restarting the service of Windows Update"
                $hasRestartedService = $true
                Restart-Service -Name wuauserv -Force
            }
            elseif ($busy -contains $result) {
                Wait-Installer
                Exit-ForRestart "$text, another installation is on"
            }
            elseif ($result -eq '0x80242014') { Exit-ForRestart "$text, an earlier update waits for it" }
            elseif ($result -eq '0x8024500C') { throw "$text; a policy of the image forbids the update service" }
            else { throw "${text}: $($_.Exception.Message)" }
        }
    }
}

function Read-Failures {
    $known = @{}
    if (Test-Path -LiteralPath $failures) {
        $read = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($failures))
        foreach ($property in $read.PSObject.Properties) { $known[$property.Name] = [int] $property.Value }
    }
    return $known
}

function Get-Wanted {
    param([psobject] $Session)
    $searcher = $Session.CreateUpdateSearcher()
    $found = Invoke-Patiently 'searching' { $searcher.Search($step.criteria) }
    $wanted = @()
    for ($number = 0; $number -lt $found.Updates.Count; $number++) {
        $update = $found.Updates.Item($number)
        $place = "$($number + 1)/$($found.Updates.Count)"
        try { $identity = $update.Identity.UpdateID }
        catch { Exit-ForRestart 'the update agent told of an update without a name' }
        if (-not $identity) { Exit-ForRestart 'the update agent told of an update without a name' }
        if (-not (Test-Wanted $update)) {
            Write-Update $place 'skipped' $update '-'
            continue
        }
        if ($update.InstallationBehavior.CanRequestUserInput) {
            Write-Host "update $place may ask a user, and there is none: $($update.Title)"
        }
        Write-Update $place 'found' $update '-'
        $wanted += $update
    }
    return , $wanted
}

function Invoke-Round {
    $session = New-Object -ComObject Microsoft.Update.Session
    $wanted = Get-Wanted $session
    if ($wanted.Count -eq 0) {
        if (Test-RestartPending) { Exit-ForRestart 'an update waits for it' }
        Exit-Done 'no update is left to be installed'
    }
    if ($step.isLast) {
        $titles = @($wanted | ForEach-Object -Process { $_.Title }) -join '; '
        throw "after all rounds $($wanted.Count) updates are left: $titles"
    }
    $collection = New-Object -ComObject Microsoft.Update.UpdateColl
    foreach ($update in $wanted) {
        if ($collection.Count -ge $step.limit) { break }
        if (-not $update.EulaAccepted) { $update.AcceptEula() }
        [void] $collection.Add($update)
    }
    $downloader = $session.CreateUpdateDownloader()
    $downloader.Updates = $collection
    [void] (Invoke-Patiently 'downloading' { $downloader.Download() })
    $ready = New-Object -ComObject Microsoft.Update.UpdateColl
    for ($number = 0; $number -lt $collection.Count; $number++) {
        $update = $collection.Item($number)
        $stage = if ($update.IsDownloaded) { 'downloaded' } else { 'failed' }
        Write-Update "$($number + 1)/$($collection.Count)" $stage $update '-'
        if ($update.IsDownloaded) { [void] $ready.Add($update) }
    }
    if ($ready.Count -eq 0) { throw 'no update could be downloaded' }
    $installer = $session.CreateUpdateInstaller()
    $installer.Updates = $ready
    $installer.ForceQuiet = $true
    if ($installer.IsBusy) { Wait-Installer }
    if ($installer.RebootRequiredBeforeInstallation) { Exit-ForRestart 'the installer wants one before it begins' }
    $outcome = Invoke-Patiently 'installing' { $installer.Install() }
    $known = Read-Failures
    $failedTwice = @()
    for ($number = 0; $number -lt $ready.Count; $number++) {
        $update = $ready.Item($number)
        $one = $outcome.GetUpdateResult($number)
        $result = '0x{0:X8}' -f $one.HResult
        # 2: it succeeded, 3: with errors; all else has not been installed
        $stage = if (@(2, 3) -contains $one.ResultCode) { 'installed' } else { 'failed' }
        Write-Update "$($number + 1)/$($ready.Count)" $stage $update $result
        if ($stage -eq 'installed') { continue }
        if ($busy -contains $result) {
            Wait-Installer
            Exit-ForRestart "installing failed with $result, another installation is on"
        }
        if ($result -eq '0x80242014') { Exit-ForRestart "installing failed with $result" }
        $identity = $update.Identity.UpdateID
        $known[$identity] = 1 + $(if ($known.ContainsKey($identity)) { $known[$identity] } else { 0 })
        if ($known[$identity] -gt 1) { $failedTwice += "$($update.Title) ($result)" }
    }
    [IO.File]::WriteAllText($failures, (ConvertTo-Json -InputObject $known -Compress))
    if ($failedTwice.Count -gt 0) { throw "failed in two rounds: $($failedTwice -join '; ')" }
    if ($outcome.RebootRequired -or (Test-RestartPending)) { Exit-ForRestart 'what was installed wants it' }
    # a next round may find what could not be seen before
    exit 0
}

try {
    [void] [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($step.state))
    if (Test-Path -LiteralPath $restart) { Remove-Item -LiteralPath $restart -Force }
    if (Test-Path -LiteralPath $done) {
        Write-Host 'an earlier round found nothing more to be installed'
        exit 0
    }
    Invoke-Round
}
catch {
    Write-Host "WindowsUpdate: $($_.Exception.Message)"
    exit 1
}
