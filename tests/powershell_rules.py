"""Windows PowerShell 5.1, read by a parser, and the rules that every script we bring into a VM keeps.

The parser's grammar takes PowerShell 7's syntax and a `try` without a `catch`, which 5.1 refuses; hence the rules.
"""

from collections.abc import Iterator

import tree_sitter
import tree_sitter_pwsh

LANGUAGE = tree_sitter.Language(tree_sitter_pwsh.language())
ONLY_IN_7 = {"null_coalesce_expression", "ternary_expression", "pipeline_chain_tail"}
ENDS_OF_TRY = {"catch_clauses", "finally_clause"}
ASSIGNMENTS_OF_5 = {"=", "+=", "-=", "*=", "/=", "%="}
# modules of Windows Server 2016 and Windows 10, Core included unless the script looks before
_CMDLETS = """
Add-LocalGroupMember ConvertFrom-Json ConvertTo-Json ConvertTo-SecureString Copy-Item ForEach-Object
Get-AppxPackage Get-AppxProvisionedPackage Get-ChildItem Get-CimInstance Get-Command Get-Content Get-Date
Get-Item Get-ItemProperty Get-LocalUser Get-NetAdapter Get-NetConnectionProfile Get-NetFirewallRule
Get-NetIPAddress Get-Process Get-ScheduledTask Get-Service Get-WSManInstance Import-PfxCertificate
Invoke-CimMethod Move-Item
New-Item New-ItemProperty New-LocalUser New-NetFirewallRule New-NetIPAddress New-Object
New-ScheduledTaskAction New-ScheduledTaskPrincipal New-ScheduledTaskSettingsSet New-TimeSpan New-WSManInstance
Optimize-Volume Register-ScheduledTask Remove-CimInstance Remove-Item Remove-ItemProperty Remove-LocalUser
Remove-NetFirewallRule Remove-NetIPAddress Remove-NetRoute Remove-WSManInstance Restart-Service Select-String
Set-DnsClientServerAddress Set-Item Set-ItemProperty Set-NetConnectionProfile Set-NetIPInterface Set-Service
Set-StrictMode Set-WSManInstance Start-ScheduledTask Start-Service Start-Sleep Test-Path
Unregister-ScheduledTask Where-Object Write-Host Write-Output
"""
CMDLETS = frozenset(_CMDLETS.split())
# what is called by a path or from a variable, as it is written there
PROGRAMS = {
    "$Act",
    "$Call",
    "$Env:SystemRoot\\System32\\Sysprep\\Sysprep.exe",
    '"$Env:SystemRoot\\System32\\netsh.exe"',
    '"$Env:SystemRoot\\System32\\shutdown.exe"',
    "$Removal",
    "$powershell",
}
FIRST = ("Set-StrictMode -Version 3.0", "$ErrorActionPreference = 'Stop'")


def nodes(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """A node and all below it."""
    yield node
    for child in node.children:
        yield from nodes(child)


def tree(script: str) -> tree_sitter.Node:
    """A script as it is read."""
    return tree_sitter.Parser(LANGUAGE).parse(script.encode()).root_node


def mistakes_of_syntax(script: str) -> list[str]:
    """Where a script is not Windows PowerShell 5.1, each with its line; empty when it is."""
    found = []
    for node in nodes(tree(script)):
        line = f"line {node.start_point[0] + 1}"
        if node.type == "ERROR" or node.is_missing:
            found.append(f"{line}: not PowerShell")
        elif node.type in ONLY_IN_7:
            found.append(f"{line}: {node.type}, which 5.1 does not have")
        elif node.type == "assignment_operator" and _text(node) not in ASSIGNMENTS_OF_5:
            found.append(f"{line}: {_text(node)}, which 5.1 does not have")
        elif node.type == "try_statement" and not {"catch_clauses", "finally_clause"} & {
            it.type for it in node.children
        }:
            found.append(f"{line}: try without catch and finally")
        elif node.type == "command_name" and _text(node) in {"catch", "finally"}:
            found.append(f"{line}: {_text(node)} without try")
    return found


def mistakes_of_habit(script: str) -> list[str]:
    """Where one of our own scripts breaks a rule of ours; empty when it keeps them."""
    found = [] if script.isascii() else ["a letter that is not ASCII: 5.1 reads it in the machine's old code page"]
    root = tree(script)
    body = [_text(part) for part in _statements(root)][:2]
    if tuple(body) != FIRST:
        found.append(f"it does not begin with strict mode and Stop, but with {body}")
    own = {_text(node).lower() for node in nodes(root) if node.type == "function_name"}
    for node in nodes(root):
        line = f"line {node.start_point[0] + 1}"
        if node.type == "command_name" and (name := _text(node)).lower() not in own and name not in CMDLETS:
            found.append(f"{line}: {name} is not in the list of commands")
        if node.type == "command_name_expr" and (name := _text(node)) not in PROGRAMS:
            found.append(f"{line}: {name} is not in the list of programs")
    return found


def _statements(root: tree_sitter.Node) -> list[tree_sitter.Node]:
    return [part for child in root.children if child.type == "statement_list" for part in child.children]


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode().strip()
