"""Task Scheduler of Windows: starts the daemon when the user logs in; needs no administrator rights.

The XML format is the "Task Scheduler Schema" of the Windows API; `schtasks` reads it as UTF-16.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from indexd.errors import IndexdError
from indexd.service.installer import CommandRunner, Installer, run_command
from indexd.service.service_spec import SERVICE_NAME, InstallationStatus, ServiceSpec
from indexd.service.windows_service import DESCRIPTION, required_log_file

_NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"


def task_xml(spec: ServiceSpec) -> str:
    """The task as XML: no time limit, runs on battery, restarts after a crash, at most one instance."""
    program = PureWindowsPath(spec.program[0])
    # pythonw.exe opens no console window.
    windowless = program.with_name(program.name.replace("python.exe", "pythonw.exe"))
    arguments = subprocess.list2cmdline([*spec.program[1:], "--end-when-stuck"])
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.3" xmlns="{_NAMESPACE}">
  <RegistrationInfo>
    <Author>{escape(spec.user)}</Author>
    <Description>{escape(DESCRIPTION)}</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{escape(spec.user)}</UserId>
      <Delay>PT30S</Delay>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(spec.user)}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <AllowHardTerminate>true</AllowHardTerminate>
    <StartWhenAvailable>true</StartWhenAvailable>
    <RunOnlyIfNetworkAvailable>false</RunOnlyIfNetworkAvailable>
    <AllowStartOnDemand>true</AllowStartOnDemand>
    <Enabled>true</Enabled>
    <Hidden>false</Hidden>
    <RunOnlyIfIdle>false</RunOnlyIfIdle>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>7</Priority>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>255</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(str(windowless))}</Command>
      <Arguments>{escape(arguments)}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


class WindowsTask:
    """The task `indexd` of the Task Scheduler."""

    def __init__(self, run: CommandRunner = run_command) -> None:
        self._run = run

    def install(self, spec: ServiceSpec, installer: Installer, *, now: bool) -> None:
        for folder in spec.own_folders:
            installer.make_folder(folder)
        text = task_xml(spec)
        registered = self._query_xml()
        if registered is not None and not _is_ours(registered):
            raise IndexdError(
                f"there is another task {SERVICE_NAME}, not installed by `indexd service install`; it stays unchanged"
            )
        if registered is not None and _element_values(registered) >= _element_values(text):
            installer.report(f"unchanged: the task {SERVICE_NAME}")
        elif (
            registered is not None and not installer.replaces_edited and not _differs_only_in_program(registered, text)
        ):
            raise IndexdError(f"the task {SERVICE_NAME} was edited and stays unchanged; use --replace to overwrite it")
        else:
            installer.run_action(f"write the task {SERVICE_NAME}:\n{text}", lambda: self._create(text))
        if now:
            self.start(installer)

    def uninstall(self, installer: Installer) -> None:
        registered = self._query_xml()
        if registered is None:
            installer.report(f"there is no task {SERVICE_NAME}; nothing to do")
        elif not _is_ours(registered):
            raise IndexdError(
                f"the task {SERVICE_NAME} was not installed by `indexd service install`; it stays unchanged"
            )
        else:
            installer.run("schtasks", "/End", "/TN", SERVICE_NAME, may_fail=True)
            installer.run("schtasks", "/Delete", "/TN", SERVICE_NAME, "/F")

    def start(self, installer: Installer) -> None:
        installer.run("schtasks", "/Run", "/TN", SERVICE_NAME)

    def stop(self, installer: Installer) -> None:
        """See ServiceManager. The scheduler kills the process; accepted jobs continue at the next start."""
        installer.run("schtasks", "/End", "/TN", SERVICE_NAME)

    def status(self, spec: ServiceSpec) -> InstallationStatus:
        registered = self._query_xml()
        if registered is None:
            return InstallationStatus(False, False, False, f"there is no task {SERVICE_NAME}")
        current = _element_values(registered) >= _element_values(task_xml(spec))
        shown = self._run(("schtasks", "/Query", "/TN", SERVICE_NAME, "/FO", "LIST"))
        running = "Running" in shown.stdout
        parts = [f"the task {SERVICE_NAME} {'runs' if running else 'does not run'}"]
        if not current:
            parts.append("it is out of date; update it with `indexd service install --task`")
        return InstallationStatus(True, current, running, "; ".join(parts))

    def logs(self, spec: ServiceSpec, _lines: int, _follow: bool) -> Path:
        return required_log_file(spec)

    def _query_xml(self) -> str | None:
        """The registered task, or None. The scheduler adds elements to the XML and removes none."""
        shown = self._run(("schtasks", "/Query", "/TN", SERVICE_NAME, "/XML"))
        return shown.stdout if shown.returncode == 0 and "<Task" in shown.stdout else None

    def _create(self, text: str) -> None:
        handle, name = tempfile.mkstemp(suffix=".xml")
        try:
            with os.fdopen(handle, "w", encoding="utf-16") as file:
                file.write(text)
            completed = self._run(("schtasks", "/Create", "/TN", SERVICE_NAME, "/XML", name, "/F"))
        finally:
            os.unlink(name)
        if completed.returncode:
            raise IndexdError(f"the Task Scheduler reports: {(completed.stderr or completed.stdout).strip()}")


def _element_values(text: str) -> set[tuple[str, str]]:
    """All element texts with their element paths."""
    values = set()

    def walk(element: ElementTree.Element, path: str) -> None:
        path = f"{path}/{element.tag.rpartition('}')[2]}"
        if element.text and element.text.strip():
            values.add((path, element.text.strip()))
        for child in element:
            walk(child, path)

    # Without the XML declaration: its encoding is that of the file, but this text is already decoded.
    walk(ElementTree.fromstring(text[text.index("<Task") :]), "")
    return values


def _is_ours(text: str) -> bool:
    return ("/Task/RegistrationInfo/Description", DESCRIPTION) in _element_values(text)


def _differs_only_in_program(registered: str, expected: str) -> bool:
    """Whether only the program differs: then the task is not edited, but from another installation."""
    program_paths = ("/Task/Actions/Exec/Command", "/Task/Actions/Exec/Arguments")
    return {value for value in _element_values(expected) if value[0] not in program_paths} <= _element_values(
        registered
    )
