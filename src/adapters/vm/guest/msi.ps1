# Switches message-signaled interrupts (MSI) on for these functions of
# {{device}}:
#
{{commented}}
#
# Without options: backs up, then sets MSISupported to 1 (REG_DWORD) below each
# instance that Windows has of them. Nothing else is changed.
#   -WhatIf         say what would be changed
#   -Undo           put back what was there
#   -RegFile FILE   write a .reg file that does the same, and change nothing
#   -Backup FOLDER  where the backups are; beside this script by default
#
# https://learn.microsoft.com/windows-hardware/drivers/kernel/enabling-message-signaled-interrupts-in-the-registry
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Set')]
param(
    [Parameter(ParameterSetName = 'Undo', Mandatory = $true)] [switch] $Undo,
    [Parameter(ParameterSetName = 'RegFile', Mandatory = $true)] [string] $RegFile,
    [Parameter(ParameterSetName = 'Set')] [Parameter(ParameterSetName = 'Undo')] [string] $Backup
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
if (-not $Backup) { $Backup = Join-Path $PSScriptRoot 'backup' }

$Functions = @(
{{array}}
)
$Enum = 'SYSTEM\CurrentControlSet\Enum\PCI'
$Below = 'Device Parameters\Interrupt Management\MessageSignaledInterruptProperties'
$Header = 'Windows Registry Editor Version 5.00'

# MSISupported of a key below HKEY_LOCAL_MACHINE; $null if it has none.
function Get-Msi([string] $Path) {
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($Path)
    if ($null -eq $key) { return $null }
    try { return $key.GetValue('MSISupported', $null) } finally { $key.Close() }
}

function Format-Msi($Value) {
    if ($null -eq $Value) { return 'not set' }
    return [string] $Value
}

# One line for MSISupported in a .reg file.
function Format-Reg($Value) {
    if ($null -eq $Value) { return '"MSISupported"=-' }
    return '"MSISupported"=dword:{0:x8}' -f [int] $Value
}

# regedit reads UTF-16 with a byte order mark.
function Write-Reg([string] $Path, [string[]] $Lines) {
    Set-Content -LiteralPath $Path -Value $Lines -Encoding Unicode -WhatIf:$false -Confirm:$false
}

function Invoke-Reg([string[]] $Arguments) {
    & reg.exe @Arguments | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "reg.exe $($Arguments -join ' '): exit code $LASTEXITCODE" }
}

# Every instance that Windows has of these functions, present or not.
$instances = @(
    foreach ($function in $Functions) {
        $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("$Enum\$function")
        if ($null -eq $key) {
            Write-Warning "Windows has never seen PCI\$function. Is it in this VM?"
            continue
        }
        foreach ($name in $key.GetSubKeyNames()) {
            New-Object PSObject -Property @{
                Name = "PCI\$function\$name"
                Device = "$Enum\$function\$name"
                Path = "$Enum\$function\$name\$Below"
                File = "$function-$name" -replace '[^A-Za-z0-9_.-]', '_'
            }
        }
        $key.Close()
    }
)
if ($instances.Count -eq 0) { throw 'None of these functions is known here; nothing was changed.' }

if ($RegFile) {
    $lines = @($Header, '')
    foreach ($instance in $instances) {
        $lines += "[HKEY_LOCAL_MACHINE\$($instance.Path)]"
        $lines += (Format-Reg 1)
        $lines += ''
    }
    Write-Reg $RegFile $lines
    Write-Output "Wrote $RegFile for $($instances.Count) instance(s)."
    return
}

$changed = $false
foreach ($instance in $instances) {
    $undoFile = Join-Path $Backup "$($instance.File).undo.reg"
    $before = Get-Msi $instance.Path
    if ($Undo) {
        if (-not (Test-Path -LiteralPath $undoFile)) {
            Write-Output "$($instance.Name): nothing to undo"
            continue
        }
        if (-not $PSCmdlet.ShouldProcess($instance.Name, "import $undoFile")) { continue }
        Invoke-Reg @('import', $undoFile)
        Remove-Item -LiteralPath $undoFile
    }
    else {
        if ($before -eq 1) {
            Write-Output "$($instance.Name): MSISupported is 1 already"
            continue
        }
        if (-not $PSCmdlet.ShouldProcess($instance.Name, 'set MSISupported to 1')) { continue }
        New-Item -ItemType Directory -Force -Path $Backup | Out-Null
        # The whole device, for people; and what -Undo takes, which an earlier run may have left.
        $whole = Join-Path $Backup "$($instance.File).reg"
        if (-not (Test-Path -LiteralPath $whole)) { Invoke-Reg @('export', "HKLM\$($instance.Device)", $whole) }
        if (-not (Test-Path -LiteralPath $undoFile)) {
            Write-Reg $undoFile @($Header, '', "[HKEY_LOCAL_MACHINE\$($instance.Path)]", (Format-Reg $before), '')
        }
        $key = [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey($instance.Path)
        try { $key.SetValue('MSISupported', 1, [Microsoft.Win32.RegistryValueKind]::DWord) } finally { $key.Close() }
    }
    $changed = $true
    Write-Output "$($instance.Name): MSISupported was $(Format-Msi $before), is $(Format-Msi (Get-Msi $instance.Path))"
}
if ($changed) { Write-Output 'Restart Windows for it to take effect.' }
