"""An entry of the Task Scheduler: starts the daemon when the person logs in; needs no administrator.

The form is that of "Task Scheduler Schema" in the documentation of the Windows API; `schtasks` takes it as UTF-16.
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
from indexd.service.windows_service import required_log_file

DESCRIPTION = "Indexes the images of your diffusion models and renders new ones. Written by `indexd service install`."
_NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"


def task_xml(spec: ServiceSpec) -> str:
    """The entry. It may run for ever, on battery too, is started again when it dies, and never twice."""
    program = PureWindowsPath(spec.program[0])
    # The interpreter without a console window.
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
    """The entry `indexd` of the Task Scheduler."""

    def __init__(self, run: CommandRunner = run_command) -> None:
        self._run = run

    def install(self, spec: ServiceSpec, installer: Installer, *, now: bool) -> None:
        """See ServiceManager."""
        for folder in spec.own_folders:
            installer.make_folder(folder)
        text = task_xml(spec)
        there = self._query_xml()
        if there is not None and not _is_ours(there):
            raise IndexdError(
                f"there is another task {SERVICE_NAME}, not made by `indexd service install`; it is left as it is"
            )
        if there is not None and _element_values(there) >= _element_values(text):
            installer.report(f"unchanged: the task {SERVICE_NAME}")
        elif there is not None and not installer.replaces_edited and not _differs_only_in_program(there, text):
            raise IndexdError(
                f"the task {SERVICE_NAME} was changed by hand and is left as it is; say --replace to have it written anew"
            )
        else:
            installer.run_action(f"write the task {SERVICE_NAME}:\n{text}", lambda: self._create(text))
        if now:
            self.start(installer)

    def uninstall(self, installer: Installer) -> None:
        """See ServiceManager."""
        there = self._query_xml()
        if there is None:
            installer.report(f"there is no task {SERVICE_NAME}; nothing to do")
        elif not _is_ours(there):
            raise IndexdError(f"the task {SERVICE_NAME} was not made by `indexd service install`; it is left as it is")
        else:
            installer.run("schtasks", "/End", "/TN", SERVICE_NAME, may_fail=True)
            installer.run("schtasks", "/Delete", "/TN", SERVICE_NAME, "/F")

    def start(self, installer: Installer) -> None:
        """See ServiceManager."""
        installer.run("schtasks", "/Run", "/TN", SERVICE_NAME)

    def stop(self, installer: Installer) -> None:
        """See ServiceManager. Ends it hard, as the scheduler does; what was accepted is taken up at the next start."""
        installer.run("schtasks", "/End", "/TN", SERVICE_NAME)

    def status(self, spec: ServiceSpec) -> InstallationStatus:
        """See ServiceManager."""
        there = self._query_xml()
        if there is None:
            return InstallationStatus(False, False, False, f"there is no task {SERVICE_NAME}")
        current = _element_values(there) >= _element_values(task_xml(spec))
        shown = self._run(("schtasks", "/Query", "/TN", SERVICE_NAME, "/FO", "LIST"))
        running = "Running" in shown.stdout
        words = [f"the task {SERVICE_NAME} {'runs' if running else 'does not run'}"]
        if not current:
            words.append("it is not what install would write now; `indexd service install --task` brings it up to date")
        return InstallationStatus(True, current, running, "; ".join(words))

    def logs(self, spec: ServiceSpec, _lines: int, _follow: bool) -> Path:
        """See ServiceManager."""
        return required_log_file(spec)

    def _query_xml(self) -> str | None:
        """The entry as the scheduler has it; it adds to what was written, and takes nothing away."""
        shown = self._run(("schtasks", "/Query", "/TN", SERVICE_NAME, "/XML"))
        return shown.stdout if shown.returncode == 0 and "<Task" in shown.stdout else None

    def _create(self, text: str) -> None:
        handle, name = tempfile.mkstemp(suffix=".xml")
        try:
            with os.fdopen(handle, "w", encoding="utf-16") as file:
                file.write(text)
            done = self._run(("schtasks", "/Create", "/TN", SERVICE_NAME, "/XML", name, "/F"))
        finally:
            os.unlink(name)
        if done.returncode:
            raise IndexdError(f"the Task Scheduler refused: {(done.stderr or done.stdout).strip()}")


def _element_values(text: str) -> set[tuple[str, str]]:
    """Every value of an entry by its place in it."""
    found = set()

    def walk(element: ElementTree.Element, place: str) -> None:
        place = f"{place}/{element.tag.rpartition('}')[2]}"
        if element.text and element.text.strip():
            found.add((place, element.text.strip()))
        for child in element:
            walk(child, place)

    # The declaration names the encoding of the file, and this is text by now.
    walk(ElementTree.fromstring(text[text.index("<Task") :]), "")
    return found


def _is_ours(text: str) -> bool:
    return ("/Task/RegistrationInfo/Description", DESCRIPTION) in _element_values(text)


def _differs_only_in_program(there: str, wanted: str) -> bool:
    """Whether the two differ in nothing but the program: that is no change by hand but another installation."""
    moved = ("/Task/Actions/Exec/Command", "/Task/Actions/Exec/Arguments")
    return {value for value in _element_values(wanted) if value[0] not in moved} <= _element_values(there)
