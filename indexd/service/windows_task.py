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
from indexd.service.hands import Hands, Run, run_command
from indexd.service.order import NAME, Installed, Order
from indexd.service.windows_service import log_file

DESCRIPTION = "Indexes the pictures of your diffusion models and makes new ones. Written by `indexd service install`."
_SPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"


def task_xml(order: Order) -> str:
    """The entry. It may run for ever, on battery too, is started again when it dies, and never twice."""
    program = PureWindowsPath(order.program[0])
    # The interpreter without a console window.
    windowless = program.with_name(program.name.replace("python.exe", "pythonw.exe"))
    arguments = subprocess.list2cmdline([*order.program[1:], "--end-when-stuck"])
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.3" xmlns="{_SPACE}">
  <RegistrationInfo>
    <Author>{escape(order.user)}</Author>
    <Description>{escape(DESCRIPTION)}</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{escape(order.user)}</UserId>
      <Delay>PT30S</Delay>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(order.user)}</UserId>
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

    def __init__(self, run: Run = run_command) -> None:
        self._run = run

    def install(self, order: Order, hands: Hands, *, now: bool) -> None:
        """See ServiceManager."""
        for folder in order.own:
            hands.make(folder)
        text = task_xml(order)
        there = self._there()
        if there is not None and not _is_ours(there):
            raise IndexdError(
                f"there is another task {NAME}, not made by `indexd service install`; it is left as it is"
            )
        if there is not None and _values(there) >= _values(text):
            hands.tell(f"unchanged: the task {NAME}")
        elif there is not None and not hands.replaces and not _is_older_of_ours(there, text):
            raise IndexdError(
                f"the task {NAME} was changed by hand and is left as it is; say --replace to have it written anew"
            )
        else:
            hands.do(f"write the task {NAME}:\n{text}", lambda: self._create(text))
        if now:
            self.start(hands)

    def uninstall(self, hands: Hands) -> None:
        """See ServiceManager."""
        there = self._there()
        if there is None:
            hands.tell(f"there is no task {NAME}; nothing to do")
        elif not _is_ours(there):
            raise IndexdError(f"the task {NAME} was not made by `indexd service install`; it is left as it is")
        else:
            hands.run("schtasks", "/End", "/TN", NAME, may_fail=True)
            hands.run("schtasks", "/Delete", "/TN", NAME, "/F")

    def start(self, hands: Hands) -> None:
        """See ServiceManager."""
        hands.run("schtasks", "/Run", "/TN", NAME)

    def stop(self, hands: Hands) -> None:
        """See ServiceManager. Ends it hard, as the scheduler does; what was accepted is taken up at the next start."""
        hands.run("schtasks", "/End", "/TN", NAME)

    def standing(self, order: Order) -> Installed:
        """See ServiceManager."""
        there = self._there()
        if there is None:
            return Installed(False, False, False, f"there is no task {NAME}")
        current = _values(there) >= _values(task_xml(order))
        shown = self._run(("schtasks", "/Query", "/TN", NAME, "/FO", "LIST"))
        running = "Running" in shown.stdout
        words = [f"the task {NAME} {'runs' if running else 'does not run'}"]
        if not current:
            words.append("it is not what install would write now; `indexd service install --task` brings it up to date")
        return Installed(True, current, running, "; ".join(words))

    def logs(self, order: Order, _lines: int, _follow: bool) -> Path:
        """See ServiceManager."""
        return log_file(order)

    def _there(self) -> str | None:
        """The entry as the scheduler has it; it adds to what was written, and takes nothing away."""
        shown = self._run(("schtasks", "/Query", "/TN", NAME, "/XML"))
        return shown.stdout if shown.returncode == 0 and "<Task" in shown.stdout else None

    def _create(self, text: str) -> None:
        handle, name = tempfile.mkstemp(suffix=".xml")
        try:
            with os.fdopen(handle, "w", encoding="utf-16") as file:
                file.write(text)
            done = self._run(("schtasks", "/Create", "/TN", NAME, "/XML", name, "/F"))
        finally:
            os.unlink(name)
        if done.returncode:
            raise IndexdError(f"the Task Scheduler refused: {(done.stderr or done.stdout).strip()}")


def _values(text: str) -> set[tuple[str, str]]:
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
    return ("/Task/RegistrationInfo/Description", DESCRIPTION) in _values(text)


def _is_older_of_ours(there: str, wanted: str) -> bool:
    """Whether the two differ in nothing but the program: that is no change by hand but another installation."""
    moved = ("/Task/Actions/Exec/Command", "/Task/Actions/Exec/Arguments")
    return {value for value in _values(wanted) if value[0] not in moved} <= _values(there)
